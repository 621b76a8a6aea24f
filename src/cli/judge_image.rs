//! `verify` and `explain`: ask the same gate as `serve`, and show what it says.

use std::io::Write as _;

use crate::oci::ImageName;
use crate::pull::Puller;

use super::Exit;
use super::report::{Asked, Report};

/// How the answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// One JSON object instead of text.
    pub json: bool,
    /// Every look-up and every check.
    pub steps: bool,
}

/// Judges an image and prints the outcome to standard output.
///
/// # Errors
/// Only when standard output cannot be written.
pub async fn judge_image(puller: &Puller, image: &ImageName, asked: &Asked, show: Show) -> anyhow::Result<Exit> {
    let result = puller.explain(&image.repository, &image.reference).await;
    let report = Report::new(asked, &result);
    let text = if show.json { report.json().to_string() } else { report.text(show.steps) };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(report.exit())
}
