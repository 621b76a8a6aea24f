//! `check`: is the configuration good, and what of it is probably not meant?

use std::io::{self, Write};
use std::path::Path;

use crate::config::{Problems, Settings, Warning};

use super::Exit;

/// Checks the configuration, the built-in one without a file. The result goes to `out`, warnings and
/// problems go to `talk`.
///
/// # Errors
/// Only when one of the two cannot be written.
pub fn check_config(
    file: Option<&Path>,
    colour: bool,
    out: &mut impl Write,
    talk: &mut impl Write,
) -> io::Result<Exit> {
    let loaded = match file {
        Some(path) => Settings::load(path),
        None => {
            writeln!(
                talk,
                "no configuration file found; this is the built-in one, which blocks nothing (name a file with -c FILE)\n"
            )?;
            Settings::builtin()
        }
    };
    report(loaded, colour, out, talk)
}

fn report(
    loaded: Result<(Settings, Vec<Warning>), Problems>,
    colour: bool,
    out: &mut impl Write,
    talk: &mut impl Write,
) -> io::Result<Exit> {
    let (settings, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            writeln!(talk, "{}\n\n{}", problems.render(colour), count(problems.count(), "problem", "problems"))?;
            return Ok(Exit::Usage);
        }
    };
    for warning in &warnings {
        writeln!(talk, "{}\n", warning.render(colour))?;
    }
    let upstreams = count(settings.upstreams.len(), "upstream", "upstreams");
    let policies = count(settings.policy.rules().len(), "policy", "policies");
    let more = match warnings.len() {
        0 => String::new(),
        n => format!(", {}", count(n, "warning", "warnings")),
    };
    writeln!(out, "{}: ok — {upstreams}, {policies}{more}", settings.name)?;
    for set in &settings.overrides {
        writeln!(out, "  {} sets {}", set.variable, set.key)?;
    }
    Ok(Exit::Ok)
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn shown(text: &str, variables: &[(&str, &str)]) -> String {
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let loaded = Settings::from_sources("proxy.toml", text, Path::new(""), &variables);
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let exit = report(loaded, false, &mut out, &mut talk).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        format!("stdout:\n{}stderr:\n{}exit: {}", text(out), text(talk), exit as u8)
    }

    const GOOD: &str = "version = 1\n[upstream.\"ghcr.io\"]\nurl = \"https://ghcr.io\"\n[[policy]]\nname = \"a\"\nimages = [\"ghcr.io/**\"]\nmode = \"audit\"\n";

    #[test]
    fn a_good_file_with_a_warning_and_an_override() {
        assert_snapshot!(shown(GOOD, &[("ASSAY_LOG__LEVEL", "debug")]), @r#"
    stdout:
    proxy.toml: ok — 1 upstream, 1 policy, 1 warning
      ASSAY_LOG__LEVEL sets log.level
    stderr:
    warning: policy[0].mode: nothing this policy matches is ever refused
     --> proxy.toml:7:8
      |
    7 | mode = "audit"
      |        ^^^^^^^
      |
      = help: use mode = "enforce" once the log shows that all images you need are signed

    exit: 0
    "#);
    }

    #[test]
    fn a_bad_file() {
        assert_snapshot!(shown("version = 1\n[upstream.\"ghcr.io\"]\nurl = \"ghcr.io\"\n", &[]), @r#"
    stdout:
    stderr:
    error: upstream."ghcr.io".url: not a URL: relative URL without a base
     --> proxy.toml:3:7
      |
    3 | url = "ghcr.io"
      |       ^^^^^^^^^
      |
      = help: write it as https://HOST or https://HOST:PORT

    1 problem
    exit: 2
    "#);
    }
}
