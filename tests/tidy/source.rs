//! Source files as the rules see them: without comments, texts and tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file below `src/`.
pub struct Source {
    /// Relative to `src/`, for example `store/disk.rs`.
    pub file: String,
    /// As written.
    pub text: String,
    /// The same lines, with comments, texts and what is only compiled for tests blanked out.
    pub code: String,
    /// Only compiled for tests: some `mod.rs` says `#[cfg(test)] mod` of it.
    pub is_test: bool,
}

/// A word or sign of the code, with its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// All files below `src/`.
pub fn sources() -> Vec<Source> {
    fn walk(folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix("src").unwrap().to_str().unwrap().to_owned();
                files.push((file, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    walk(Path::new("src"), &mut files);
    files.sort();
    let tests: BTreeSet<String> = files.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let is_test = |file: &str| {
        let stem = file.trim_end_matches(".rs");
        tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")))
    };
    files.into_iter().map(|(file, text)| Source { is_test: is_test(&file), ..Source::new(&file, &text) }).collect()
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        let code = without_tests(&without_texts(text));
        Self { file: file.to_owned(), text: text.to_owned(), code, is_test: false }
    }

    pub fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }

    /// How many names from the crate's root to this file: 0 for `lib.rs`, 2 for `oci/digest.rs`.
    pub fn depth(&self) -> usize {
        let names = self.file.split('/').count();
        if matches!(self.file.rsplit('/').next(), Some("mod.rs" | "lib.rs" | "main.rs")) { names - 1 } else { names }
    }
}

/// The modules that `#[cfg(test)] mod name;` declares, as paths without `.rs`.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let code = without_texts(text);
    let tokens = tokens(&code);
    let folder = match file.rsplit_once('/') {
        Some((folder, "mod.rs")) => format!("{folder}/"),
        None if matches!(file, "lib.rs" | "main.rs") => String::new(),
        _ => format!("{}/", file.trim_end_matches(".rs")),
    };
    let texts: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    texts
        .windows(CFG_TEST.len() + 3)
        .filter(|seen| seen.starts_with(&CFG_TEST))
        .filter_map(|seen| match seen[CFG_TEST.len()..] {
            ["mod", name, ";"] => Some(format!("{folder}{name}")),
            _ => None,
        })
        .collect()
}

const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// Words, `::`, and single signs.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            found.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// Blanks comments and the insides of texts and characters; lines stay where they are.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..chars.len()).find(|j| at(*j) == '\n').unwrap_or(chars.len()),
            '/' if at(i + 1) == '*' => end_of_comment(&chars, i),
            '"' => end_of_text(&chars, i),
            'r' if i == 0 || !(at(i - 1).is_alphanumeric() || at(i - 1) == '_') || at(i - 1) == 'b' => {
                end_of_raw_text(&chars, i)
            }
            '\'' if at(i + 1) == '\\' => (i + 3..chars.len()).find(|j| at(*j) == '\'').map_or(chars.len(), |j| j + 1),
            '\'' if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            code.push(at(i));
            i += 1;
            continue;
        }
        code.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    code
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match chars[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] if depth == 1 => return i + 2,
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `r"…"` and `r#"…"#`; `start` itself if this `r` begins a word.
fn end_of_raw_text(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = start + 2 + hashes;
    (body..chars.len()).find(|i| chars[*i..].starts_with(&closing)).map_or(chars.len(), |i| i + closing.len())
}

/// Blanks each item behind `#[cfg(test)]`, up to its `;` or closing brace.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(MARK) {
        let (before, item) = rest.split_at(start);
        kept.push_str(before);
        let mut depth = 0;
        let end = item.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, ';' | '}')).then_some(at + 1)
        });
        let (item, after) = item.split_at(end.unwrap_or(item.len()));
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    kept + rest
}
