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
        /// By a tag of which nobody could ask upstream: what it led to before.
        Stale = "stale",
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

words! {
    /// How an upstream answered a request. What is usual to ask of, as a login or a missing image, has a word of its own.
    UpstreamOutcome {
        /// Here it is.
        Success = "2xx",
        /// It is elsewhere.
        Redirect = "3xx",
        /// Log in first, or: not so.
        Unauthorized = "401",
        /// There is none.
        NotFound = "404",
        /// Too often.
        RateLimited = "429",
        /// Another mistake of ours, as it sees it.
        ClientError = "4xx",
        /// It is broken, or says nothing that is known.
        ServerError = "5xx",
        /// Nothing in time.
        TimedOut = "timed_out",
        /// No connection, or one that broke.
        Unreachable = "unreachable",
        /// At an address that must not be asked.
        Blocked = "blocked",
    }
}

impl UpstreamOutcome {
    /// What a status means.
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            401 => Self::Unauthorized,
            404 => Self::NotFound,
            429 => Self::RateLimited,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

words! {
    /// In what way a file in the cache folder was not as it should be.
    ScrubOutcome {
        /// Content that is no longer what its name says.
        Changed = "changed",
        /// What nobody but somebody else can have put there: another name, a link, another owner, a folder.
        Foreign = "foreign",
        /// The disk does not give it back.
        Unreadable = "unreadable",
    }
}

words! {
    /// What the recorded signatures of a cached image prove today.
    CachedOutcome {
        /// It passes.
        Stands = "stands",
        /// It does not; others may be upstream.
        Fails = "fails",
        /// What is on record, or stored, does not read back.
        Unreadable = "unreadable",
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
