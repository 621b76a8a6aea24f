//! Closed lists of outcomes. A log field and a metric label use the same word for the same thing.

/// An enum whose variants are words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$meaning])* $variant,)*
        }

        impl $name {
            /// Every one, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The one that [`Self::as_str`] calls so.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a request asks for.
    RequestKind {
        /// `/v2/`: does this speak the protocol?
        Ping = "ping",
        /// A manifest, by tag or digest.
        Manifest = "manifest",
        /// A blob.
        Blob = "blob",
        /// The list of tags.
        Tags = "tags",
        /// What refers to a digest.
        Referrers = "referrers",
        /// Nothing that is offered.
        Other = "other",
    }
}

words! {
    /// Where content came from.
    CacheOutcome {
        /// From our disk.
        Hit = "hit",
        /// From upstream; this request started the fetch.
        Fill = "fill",
        /// From upstream, along with a fetch that was already running.
        Join = "join",
        /// From memory.
        Memory = "memory",
        /// From upstream, for this request alone: it cannot be kept.
        Pass = "pass",
        /// There was no content to serve.
        None = "none",
    }
}

words! {
    /// How a judgement ended.
    VerdictOutcome {
        /// Signed as the rule demands, checked now.
        Verified = "verified",
        /// Not signed as the rule demands, and not served.
        Refused = "refused",
        /// Not signed as the rule demands, and served: the rule is in audit mode.
        Audit = "audit",
        /// Served without a look: the rule is off.
        Off = "off",
        /// Something needed could not be had. Says nothing about the image.
        Unknown = "unknown",
        /// A signature or the like, passed on as such.
        Artefact = "artefact",
        /// Nothing was judged.
        None = "none",
    }
}

words! {
    /// How a fetch of a blob ended.
    FillOutcome {
        /// Length and digest are right.
        Sealed = "sealed",
        /// Upstream sent something else.
        Rejected = "rejected",
        /// Broken off: upstream, the network or our disk failed.
        Failed = "failed",
    }
}

words! {
    /// What became of a tag that went back in time.
    RollbackOutcome {
        /// Served, and said so in the log.
        Warned = "warned",
        /// Not served.
        Refused = "refused",
    }
}

words! {
    /// How reading the configuration again ended.
    ReloadOutcome {
        /// It is in force.
        Ok = "ok",
        /// It cannot be used; the one before stays.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for one in VerdictOutcome::ALL {
            assert_eq!(VerdictOutcome::from_word(one.as_str()), Some(*one));
        }
        assert_eq!(CacheOutcome::from_word("HIT"), None);
    }
}
