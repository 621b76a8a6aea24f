//! Merkle trees over log entries (RFC 6962 section 2.1).

use super::sha256;

pub type Hash = [u8; 32];

pub fn leaf(entry: &[u8]) -> Hash {
    sha256(&[[0].as_slice(), entry].concat())
}

/// The tree head over `leaves`, of which there is at least one.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            sha256(&[[1].as_slice(), &root(left), &root(right)].concat())
        }
    }
}

/// The audit path of the leaf at `index`, from the bottom up.
pub fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut below, beside) =
        if index < middle { (path(index, left), root(right)) } else { (path(index - middle, right), root(left)) };
    below.push(beside);
    below
}

/// The largest power of two below `size`, which is at least two.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}
