//! What a rule says besides who must have signed: denied digests, the search for a parent, the watch on tags.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::oci::Digest;
use crate::trust::{ParentSearch, Rollback, Terms};

use super::super::file::{self, FindParent, Text};
use super::super::report::Report;
use super::value;

/// Enough for a year of weekly releases; each costs one or two requests.
const TAGS: u32 = 50;
/// Clients wait about 30 s for a manifest, and the signatures are still to be checked.
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn terms(rule: &file::Policy, report: &mut Report<'_>) -> Terms {
    Terms {
        denied_digests: digests(&rule.deny.0.digests, report),
        parent_search: rule.find_parent.as_ref().and_then(|written| match written.get_ref() {
            FindParent::Off => None,
            FindParent::On(bounds) => Some(parent_search(bounds, report)),
        }),
        rollback: rule.rollback.as_ref().map_or(Rollback::Allow, |written| *written.get_ref()),
    }
}

fn digests(written: &[Text], report: &mut Report<'_>) -> BTreeSet<Digest> {
    let parse = |text: &Text| {
        let found = text.get_ref().parse::<Digest>();
        if let Err(error) = &found {
            report
                .error(text.span(), error.to_string())
                .help("write the digest of a manifest or index as registries show it: \"sha256:…\"");
        }
        found.ok()
    };
    written.iter().filter_map(parse).collect()
}

fn parent_search(written: &file::ParentSearch, report: &mut Report<'_>) -> ParentSearch {
    let tags = value::within(written.tags.as_ref(), TAGS, 1..=1000, report);
    let deadline = value::waiting(written.timeout.as_ref(), TIMEOUT, report);
    if let Some(text) = &written.timeout
        && deadline > TIMEOUT_MAX
    {
        report
            .error(text.span(), format!("longer than {} s", TIMEOUT_MAX.as_secs()))
            .help("clients wait about 30 s for a manifest");
    }
    ParentSearch { tags: tags as usize, deadline }
}
