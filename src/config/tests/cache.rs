//! `[cache]`: sizes, and what always stays.

use insta::assert_snapshot;

use super::{GOOD, Lab};
use crate::size::Size;

#[test]
fn sizes_are_amounts_or_shares_and_patterns_are_those_of_policies() {
    let text = format!("{GOOD}[cache]\nmax_size = \"80%\"\nmin_free = \"5GiB\"\nkeep = [\"ghcr.io/acme/**\"]\n");
    let (settings, warnings) = Lab::new().load(&text);
    assert!(warnings.is_empty());
    assert_eq!((settings.cache.max_size, settings.cache.min_free), (Size::Percent(80), Size::Bytes(5 << 30)));
    assert!(settings.cache.keep[0].matches("ghcr.io/acme/a/b") && !settings.cache.keep[0].matches("ghcr.io/other"));
}

#[test]
fn what_is_no_size_or_no_pattern_is_told() {
    let text = format!("{GOOD}[cache]\nmax_size = \"50GB\"\nmin_free = \"120%\"\nkeep = [\"ghcr.io/acme/app:1.0\"]\n");
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: cache.max_size: not a size: write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as "50GiB"
      --> proxy.toml:11:12
       |
    11 | max_size = "50GB"
       |            ^^^^^^
       |
       = help: or a share of the file system, such as "10%"

    error: cache.min_free: not a size: write a whole number and a unit (B, KiB, MiB, GiB, TiB), such as "50GiB"
      --> proxy.toml:12:12
       |
    12 | min_free = "120%"
       |            ^^^^^^
       |
       = help: or a share of the file system, such as "10%"

    error: cache.keep[0]: patterns name repositories, not tags or digests: a blob or a digest belongs to no tag, so a rule per tag could be walked around
      --> proxy.toml:13:9
       |
    13 | keep = ["ghcr.io/acme/app:1.0"]
       |         ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: leave out what follows the name
    "#);
}

#[test]
fn what_keeps_nothing_or_too_little_is_told() {
    let text = format!("{GOOD}[cache]\nmax_size = \"100MiB\"\nkeep = [\"quay.io/acme/**\"]\n");
    assert_snapshot!(Lab::new().warnings(&text), @r#"
    warning: cache.max_size: less than many single layers have
      --> proxy.toml:11:12
       |
    11 | max_size = "100MiB"
       |            ^^^^^^^^
       |
       = help: what does not fit is passed on and fetched again for each client

    warning: cache.keep[0]: matches nothing: no upstream of that name
      --> proxy.toml:12:9
       |
    12 | keep = ["quay.io/acme/**"]
       |         ^^^^^^^^^^^^^^^^^
       |
       = help: add it, or take this out
    "#);
    let more_than_there_is = format!("{GOOD}[cache]\nmin_free = \"9000000TiB\"\n");
    assert!(Lab::new().warnings(&more_than_there_is).contains("nothing can ever be kept"));
}
