//! `proxy.toml` and variables over it: settings, or messages that can be shown.
#![no_main]

use std::path::Path;

use assay::config::Settings;
use assay_fuzz::parts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parts = parts(data, 3);
    let mut texts = parts.iter().filter_map(|part| std::str::from_utf8(part).ok());
    let Some(text) = texts.next() else { return };
    let variables: Vec<(String, String)> = match (texts.next(), texts.next()) {
        (Some(name), Some(value)) => vec![(name.to_owned(), value.to_owned())],
        _ => vec![],
    };
    // Files that it names are looked for where there are none.
    match Settings::from_sources("proxy.toml", text, Path::new("/nonexistent"), &variables) {
        Ok((_, warnings)) => warnings.iter().for_each(|warning| drop(warning.render(true))),
        Err(problems) => {
            assert!(problems.count() > 0);
            assert!(!problems.render(false).is_empty() && !problems.render(true).is_empty());
        }
    }
});
