//! Expressions over whole values: an automaton that was built another way agrees.
#![no_main]

use assay::trust::{EXPRESSION_MAX, Matcher};
use assay_fuzz::two_texts;
use libfuzzer_sys::fuzz_target;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::{Anchored, Input, MatchKind};

/// A second engine is slow, and names are short.
const VALUE_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((text, value)) = two_texts(data) else { return };
    let Ok(matcher) = Matcher::expression(text) else { return };
    assert!(text.len() <= EXPRESSION_MAX);
    assert_eq!(matcher.as_str(), text);
    if value.len() > VALUE_MAX {
        return;
    }
    let fits = matcher.matches(value);
    assert_eq!(fits, fits_naively(text, value), "{text:?} {value:?}");
    let at = matcher.differs_at(value);
    assert!(value.is_char_boundary(at));
    // Where the automaton cannot tell, it says so with 0.
    assert!(!fits || at == value.len() || at == 0, "{text:?} fits {value:?}, and differs at {at}");
});

/// Whether the expression as it is written, with nothing around it, finds the whole value: not the match that it would
/// choose, which may end earlier (`a|ab` in `ab`), but the longest of all that begin at the value's start.
fn fits_naively(text: &str, value: &str) -> bool {
    let config = PikeVM::config().match_kind(MatchKind::All);
    let vm = PikeVM::builder().configure(config).build(text).expect("it compiled before");
    let mut longest = None;
    let input = Input::new(value).anchored(Anchored::Yes);
    if let Some(found) = vm.find_iter(&mut vm.create_cache(), input).next() {
        longest = Some(found.end());
    }
    longest == Some(value.len())
}
