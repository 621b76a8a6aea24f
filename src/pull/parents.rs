//! Looks through a repository's tags for an index that names a manifest, where nobody asked for its index.

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use crate::oci::{Digest, Manifest, Repository, Tag};
use crate::trust::{ParentSearch, Reason, Verified};
use crate::upstream::UpstreamError;

use super::admission::Admission;
use super::admit::{Opened, Parts};
use super::error::{PullError, Refusal};
use super::from_upstream::{fetch, upstream_error, with_causes};
use super::places::Places;
use super::question::{Key, Question};

/// Tags of one search that are looked at side by side: few, so that a search is no burst of requests.
const AT_ONCE: usize = 4;

/// Searches at once in one upstream; more wait, within their own deadline.
const SEARCHES_MAX: usize = 4;

/// Tags that are asked for at once when they are listed.
const PAGE: u32 = 1000;

/// Most pages of tags that are read: the newest are found only among those that were listed.
const PAGES_MAX: usize = 10;

/// How long it is remembered that no tag led to an index with a digest, so that a loop of requests for it does not
/// become a loop of searches. Short, so that an image that is pushed now can soon be pulled.
const NOTHING_FOR: Duration = Duration::from_secs(60);

/// How many fruitless searches, and how many tags that led to a parent, are remembered.
const REMEMBERED: u64 = 10_000;

/// Searches for parents, and what came of the last ones.
pub(super) struct ParentSearches {
    places: Places,
    /// What was looked at, in words.
    nothing: moka::sync::Cache<Key, String>,
    tags: moka::sync::Cache<(Repository, Digest), Tag>,
}

/// What a search saw so far.
#[derive(Default)]
struct Progress {
    looked_at: usize,
    listed: usize,
    /// There are more tags than were listed.
    more: bool,
    /// An index that names it, and why that does not help.
    refused: Option<Box<Refusal>>,
    trouble: Option<PullError>,
}

impl ParentSearches {
    pub(super) fn new() -> Self {
        Self {
            places: Places::new(SEARCHES_MAX),
            nothing: moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(NOTHING_FOR).build(),
            tags: moka::sync::Cache::builder().max_capacity(REMEMBERED).build(),
        }
    }

    /// The tag by which the parent of a manifest was found.
    pub(super) fn tag(&self, repository: &Repository, digest: Digest) -> Option<Tag> {
        self.tags.get(&(repository.clone(), digest))
    }

    /// Looks for a verified index that names what was refused, where the rule says so and an index could help.
    ///
    /// # Errors
    /// The refusal, with how many tags were looked at; `CouldNotCheck` when a look-up failed on the way, since
    /// the index may lie there.
    pub(super) async fn find(
        &self,
        gate: &Parts,
        question: &Question,
        refusal: Refusal,
    ) -> Result<Verified<Manifest>, PullError> {
        let by_digest = matches!(question.asked, crate::oci::Reference::Digest(_));
        let Some(bounds) = question.rule.terms().parent_search.filter(|_| by_digest && may_help(refusal.reason)) else {
            return Err(PullError::Refused(Box::new(refusal)));
        };
        let key = question.key();
        if let Some(words) = self.nothing.get(&key) {
            return Err(nothing_found(refusal, &words));
        }
        let mut progress = Progress::default();
        let looking = async {
            let _place = self.places.take(question.repository.registry()).await;
            look_through(gate, question, bounds, &mut progress).await
        };
        let looked = tokio::time::timeout(bounds.deadline, Box::pin(looking)).await;
        match looked {
            Ok(found) => match found? {
                Some((verified, tag)) => {
                    self.tags.insert((question.repository.clone(), question.digest), tag);
                    Ok(verified)
                }
                None => match progress.trouble.take() {
                    Some(trouble) => Err(could_not_look(question, &progress, &trouble)),
                    None => {
                        let words = progress.words();
                        self.nothing.insert(key, words.clone());
                        Err(nothing_found(refusal, &words))
                    }
                },
            },
            Err(_) => {
                let seconds = bounds.deadline.as_secs_f32();
                let late = PullError::Internal(format!("the {seconds} s for it were over").into());
                Err(could_not_look(question, &progress, &late))
            }
        }
    }
}

impl Progress {
    fn words(&self) -> String {
        let more = if self.more { "more than " } else { "" };
        let of = match self.listed > self.looked_at || self.more {
            true => format!(" (of {more}{})", self.listed),
            false => String::new(),
        };
        let mut words = format!(
            "none of the {} tags that were looked at{of} leads to a verified index that names it",
            self.looked_at
        );
        if let Some(refused) = &self.refused {
            words.push_str(&format!("; {} names it and is refused: {}", refused.asked, refused.reason.code()));
        }
        words
    }
}

/// Whether an index that names it would make a difference.
fn may_help(reason: Reason) -> bool {
    use Reason::{Denied, MissingAttestation, NotAnArtefact, UnsafeManifest, WrongAttestation};
    !matches!(reason, Denied | MissingAttestation | NotAnArtefact | UnsafeManifest | WrongAttestation)
}

fn nothing_found(refusal: Refusal, words: &str) -> PullError {
    PullError::Refused(Box::new(Refusal { detail: format!("{}; {words}", refusal.detail), ..refusal }))
}

fn could_not_look(question: &Question, progress: &Progress, trouble: &PullError) -> PullError {
    let retry_after = match trouble {
        PullError::Upstream { retry_after, .. } | PullError::CouldNotCheck { retry_after, .. } => *retry_after,
        _ => None,
    };
    let why = match trouble {
        PullError::Internal(why) => why.to_string(),
        trouble => with_causes(trouble),
    };
    let detail = format!("looking for an index that names it, {} tags so far: {why}", progress.looked_at);
    PullError::CouldNotCheck { image: question.image(), detail, retry_after, verdict: None }
}

/// Tries tag after tag, newest first, until one leads to a verified index that names what is asked.
async fn look_through(
    gate: &Parts,
    question: &Question,
    bounds: ParentSearch,
    progress: &mut Progress,
) -> Result<Option<(Verified<Manifest>, Tag)>, PullError> {
    let tags = match list(question, progress).await {
        Ok(tags) => newest_first(tags),
        Err(trouble) => {
            progress.trouble = Some(trouble);
            return Ok(None);
        }
    };
    progress.listed = tags.len();
    let seen = Mutex::new(HashSet::new());
    let looks = tags.into_iter().take(bounds.tags).map(|tag| {
        let looking = look(gate, question, tag.clone(), &seen);
        async move { (tag, looking.await) }
    });
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some((tag, looked)) = looks.next().await {
        progress.looked_at += 1;
        let opened = match looked {
            Ok(None) => continue,
            Ok(Some(index)) => open(gate, question, index).await,
            Err(trouble) => Err(trouble),
        };
        match opened {
            Ok(Some(verified)) => return Ok(Some((verified, tag))),
            Ok(None) => {}
            // The index is good, and what it names lacks something: no other index helps.
            Err(PullError::Refused(refused)) if refused.asked == question.asked.to_string() => {
                return Err(PullError::Refused(refused));
            }
            Err(PullError::Refused(refused)) => {
                progress.refused = Some(Box::new(Refusal { asked: format!("tag {tag}"), ..*refused }));
            }
            Err(trouble) => progress.trouble = Some(trouble),
        }
    }
    Ok(None)
}

/// The index behind a tag, if it names what is asked and no other tag led to it before.
async fn look(
    gate: &Parts,
    question: &Question,
    tag: Tag,
    seen: &Mutex<HashSet<Digest>>,
) -> Result<Option<Manifest>, PullError> {
    let Question { upstream, repository, .. } = question;
    let is_new = |digest| seen.lock().expect("no holder of this lock panics").insert(digest);
    let resolved = match Box::pin(upstream.resolve(repository, &tag)).await {
        Err(UpstreamError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(upstream_error(upstream, &format!("{}:{tag}", repository.path()), &error)),
        Ok(Some(digest)) if !is_new(digest) => return Ok(None),
        Ok(resolved) => resolved,
    };
    let fetched = match resolved {
        Some(digest) => gate.bytes(&question.about(digest), None).await,
        None => fetch(upstream, repository, &crate::oci::Reference::Tag(tag)).await,
    };
    let names = |manifest: &Manifest| {
        manifest.index().is_some() && manifest.named().any(|named| named.digest == question.digest)
    };
    match fetched {
        Ok(manifest) => Ok(Some(manifest).filter(names)),
        // Gone meanwhile, or no manifest that anybody could pull through here.
        Err(PullError::NotFound { .. } | PullError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Through the index, if that may be served itself.
async fn open(gate: &Parts, question: &Question, index: Manifest) -> Result<Option<Verified<Manifest>>, PullError> {
    let about_index = question.about(index.digest());
    match gate.admit_itself(&about_index, Some(index)).await? {
        Admission::Image(parent) => gate.open_child(question, &parent, Opened::default()).await,
        Admission::Artefact(_) => Ok(None),
    }
}

async fn list(question: &Question, progress: &mut Progress) -> Result<Vec<Tag>, PullError> {
    let Question { upstream, repository, .. } = question;
    let mut tags: Vec<Tag> = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = Box::pin(upstream.tags(repository, Some(PAGE), tags.last())).await;
        let page = match page {
            Err(UpstreamError::NotFound { .. }) => return Ok(tags),
            page => page.map_err(|error| upstream_error(upstream, &format!("tags of {repository}"), &error))?,
        };
        let nothing_new = page.tags.is_empty();
        tags.extend(page.tags);
        if !page.more || nothing_new {
            return Ok(tags);
        }
    }
    progress.more = true;
    Ok(tags)
}

/// The order in which tags are tried: `latest`, then what looks like a version, highest first, then the rest.
/// What cosign and the referrers fallback keep under tags is left out.
fn newest_first(mut tags: Vec<Tag>) -> Vec<Tag> {
    tags.retain(|tag| !tag.as_str().starts_with("sha256-"));
    tags.sort_by_cached_key(|tag| (kind(tag.as_str()), Reverse(Natural::of(tag.as_str()))));
    tags.dedup();
    tags
}

/// 0 for `latest`, 1 for versions, 2 for the rest.
fn kind(tag: &str) -> u8 {
    match tag.strip_prefix(['v', 'V']).unwrap_or(tag).bytes().next() {
        _ if tag == "latest" => 0,
        Some(first) if first.is_ascii_digit() => 1,
        _ => 2,
    }
}

/// A text in which numbers count as numbers: `1.10` is above `1.9`.
#[derive(PartialEq, Eq)]
struct Natural(Vec<Piece>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Text(String),
    /// Without leading zeros, by length and then by digits: as large as it may be written.
    Number(usize, String),
}

impl Natural {
    fn of(tag: &str) -> Self {
        let tag = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
        let pieces = tag.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        let piece = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            match bytes.first().is_some_and(u8::is_ascii_digit) {
                true => Piece::Number(text.trim_start_matches('0').len(), text.trim_start_matches('0').to_owned()),
                false => Piece::Text(text),
            }
        };
        Self(pieces.map(piece).collect())
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_tried_newest_first_as_far_as_names_tell() {
        let tags = ["1.9", "main", "1.10", "latest", "v2.0", "1.10.1", "nightly-9", "nightly-10", "20260101", "1.010"];
        let artefact = format!("sha256-{}.sig", "ab".repeat(32));
        let tags = tags.into_iter().chain([artefact.as_str()]).map(|tag| tag.parse().unwrap()).collect();
        let ordered: Vec<_> = newest_first(tags).iter().map(|tag| tag.as_str().to_owned()).collect();
        let wanted =
            ["latest", "20260101", "v2.0", "1.10.1", "1.10", "1.010", "1.9", "nightly-10", "nightly-9", "main"];
        assert_eq!(ordered, wanted);
    }
}
