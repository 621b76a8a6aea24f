//! Reads `WWW-Authenticate` (RFC 9110, section 11.6.1) as strictly as it is written.
//!
//! The header decides where credentials go, so what does not parse is no challenge at all.

/// Longest header we read; real ones have a few hundred characters.
const HEADER_MAX: usize = 8 * 1024;
/// Most challenges in one header; registries send one or two.
const CHALLENGES_MAX: usize = 8;
/// Most parameters of one challenge; registries send up to four.
const PARAMS_MAX: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case.
    scheme: String,
    /// Names in lower case, none twice.
    params: Vec<(String, String)>,
}

/// The header does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Challenge {
    /// Whether it is of this scheme, written in lower case.
    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme == scheme
    }

    /// A parameter's value, by its name in lower case.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads one header, which may hold several challenges.
    pub(super) fn parse_all(header: &str) -> Result<Vec<Self>, Malformed> {
        if header.len() > HEADER_MAX {
            return Err(Malformed);
        }
        let mut scan = Scan { rest: header };
        let mut challenges: Vec<Self> = Vec::new();
        scan.skip_commas();
        while !scan.rest.is_empty() {
            let scheme = scan.token().ok_or(Malformed)?.to_ascii_lowercase();
            let mut challenge = Self { scheme, params: Vec::new() };
            if scan.spaces() > 0 && scan.token68().is_none() {
                challenge.read_params(&mut scan)?;
            }
            challenges.push(challenge);
            scan.end_of_element()?;
            if challenges.len() > CHALLENGES_MAX {
                return Err(Malformed);
            }
        }
        Ok(challenges)
    }

    /// Reads parameters until the header ends or the next challenge begins.
    fn read_params(&mut self, scan: &mut Scan<'_>) -> Result<(), Malformed> {
        loop {
            let before = scan.rest;
            scan.skip_commas();
            let Some((name, value)) = scan.param()? else {
                scan.rest = before;
                return Ok(());
            };
            if self.param(&name).is_some() || self.params.len() == PARAMS_MAX {
                return Err(Malformed);
            }
            self.params.push((name, value));
            let behind = scan.rest;
            scan.spaces();
            if !scan.rest.starts_with(',') {
                scan.rest = behind;
                return Ok(());
            }
        }
    }
}

struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|b| !keep(b)).unwrap_or(self.rest.len());
        // Only ASCII is kept, so `end` is a character boundary.
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn eat(&mut self, byte: char) -> bool {
        self.rest.strip_prefix(byte).map(|rest| self.rest = rest).is_some()
    }

    fn spaces(&mut self) -> usize {
        self.take_while(|b| b == b' ' || b == b'\t').len()
    }

    fn skip_commas(&mut self) {
        self.take_while(|b| matches!(b, b' ' | b'\t' | b','));
    }

    /// Behind a challenge: the end, or a comma.
    fn end_of_element(&mut self) -> Result<(), Malformed> {
        self.spaces();
        if !self.rest.is_empty() && !self.rest.starts_with(',') {
            return Err(Malformed);
        }
        self.skip_commas();
        Ok(())
    }

    fn token(&mut self) -> Option<&'a str> {
        let token = self.take_while(is_token_byte);
        (!token.is_empty()).then_some(token)
    }

    /// A `token68`, which fills its element up to the comma or the end; else nothing is taken.
    fn token68(&mut self) -> Option<()> {
        let before = self.rest;
        let body = self.take_while(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
        self.take_while(|b| b == b'=');
        self.spaces();
        if !body.is_empty() && (self.rest.is_empty() || self.rest.starts_with(',')) {
            return Some(());
        }
        self.rest = before;
        None
    }

    /// `name=value`; `None`, and nothing taken, where no `=` follows: there a challenge begins.
    fn param(&mut self) -> Result<Option<(String, String)>, Malformed> {
        let before = self.rest;
        let name = self.token();
        self.spaces();
        let (Some(name), true) = (name, self.eat('=')) else {
            self.rest = before;
            return Ok(None);
        };
        self.spaces();
        let value = if self.eat('"') { self.quoted()? } else { self.token().ok_or(Malformed)?.to_owned() };
        Ok(Some((name.to_ascii_lowercase(), value)))
    }

    /// The inside of a quoted string, behind its first quote, up to and with its last.
    fn quoted(&mut self) -> Result<String, Malformed> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(value);
                }
                '\\' => {
                    let (_, escaped) = chars.next().ok_or(Malformed)?;
                    value.push(printable(escaped)?);
                }
                _ => value.push(printable(c)?),
            }
        }
        Err(Malformed)
    }
}

fn printable(c: char) -> Result<char, Malformed> {
    if matches!(c, ' '..='~' | '\t') { Ok(c) } else { Err(Malformed) }
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        let challenges = Challenge::parse_all(header).unwrap_or_else(|_| panic!("{header}"));
        challenges.into_iter().map(|c| (c.scheme, c.params)).collect()
    }

    fn challenge(scheme: &str, params: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        (scheme.to_owned(), params.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn what_registries_send() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            [challenge(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "repository:a/b:pull,push")
                ]
            )]
        );
        assert_eq!(
            parse(r#"basic Realm = "a \"b\" \\", Bearer realm=x , , Negotiate, NTLM abc=="#),
            [
                challenge("basic", &[("realm", r#"a "b" \"#)]),
                challenge("bearer", &[("realm", "x")]),
                challenge("negotiate", &[]),
                challenge("ntlm", &[]),
            ]
        );
        assert_eq!(parse(""), []);
        assert_eq!(parse("Basic"), [challenge("basic", &[])]);
        assert_eq!(parse("Basic realm=\"\","), [challenge("basic", &[("realm", "")])]);
    }

    #[test]
    fn what_is_not_a_challenge() {
        for bad in [
            "Bearer realm=\"x",
            "Bearer realm=,service=x",
            "Bearer realm=\"a\" service=\"b\"",
            "Bearer realm=\"a\",realm=\"b\"",
            "Bearer realm=\"a\",Realm=\"b\"",
            "Bearer realm=\"a\"x",
            "Bearer =x",
            "\"Bearer\"",
            "Bearer realm=\"a\\",
            "Bearer realm=\"\u{e9}\"",
            "Bearer realm=\"\u{1}\"",
            "realm=\"x\"",
            &"a".repeat(HEADER_MAX + 1),
            &"Basic,".repeat(CHALLENGES_MAX + 1),
        ] {
            assert_eq!(Challenge::parse_all(bad), Err(Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(header in "\\PC{0,80}") {
            let _ = Challenge::parse_all(&header);
        }

        #[test]
        fn near_garbage_never_panics(header in "(Bearer|Basic| |,|=|\"|\\\\|realm|a|~){0,30}") {
            let _ = Challenge::parse_all(&header);
        }

        #[test]
        fn it_reads_back_what_was_quoted(
            scheme in "[a-z]{1,8}",
            values in proptest::collection::vec("[ -~]{0,20}", 1..5),
        ) {
            let params: Vec<_> = values.iter().enumerate().map(|(i, v)| (format!("p{i}"), v.clone())).collect();
            let quoted: Vec<_> = params
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let one = format!("{scheme} {}", quoted.join(","));
            let want = (scheme, params);
            prop_assert_eq!(parse(&one), vec![want.clone()]);
            prop_assert_eq!(parse(&format!("{one}, {one}")), vec![want.clone(), want]);
        }
    }
}
