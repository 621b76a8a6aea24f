//! Reports over outcomes that are made by hand, because no image leads to them here.
