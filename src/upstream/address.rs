//! Which network addresses a host that an *upstream* named may have.
//!
//! An upstream may send us anywhere, by redirect or by token realm; internal services must stay out of
//! its reach. So the rule is applied to addresses, after resolution, and not to names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The open internet.
    Public,
    /// This machine.
    Loopback,
    /// RFC 1918, carrier-grade NAT, unique local, and the old site-local.
    Private,
    /// The local wire; cloud metadata services live here.
    LinkLocal,
    /// Everything that no registry can have: unspecified, multicast, broadcast, documentation,
    /// benchmarks, tunnels, and the metadata services that live outside of link-local.
    Special,
}

/// Metadata services of clouds at addresses that would otherwise pass as public or private.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                    // Azure
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                  // Alibaba Cloud
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
];

impl Class {
    /// The class of an address. An IPv4 address inside an IPv6 one counts as that IPv4 address.
    pub(super) fn of(address: IpAddr) -> Self {
        if METADATA.contains(&address.to_canonical()) {
            return Self::Special;
        }
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| Self::of_v6(v6), |v4| Self::of(v4.into())),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [100, second, ..] if second & 0xc0 == 64 => Self::Private,
            _ if address.is_private() => Self::Private,
            [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [224..=255, ..] => Self::Special,
            _ if address.is_documentation() => Self::Special,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            _ if address.is_loopback() => Self::Loopback,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            // Only 2000::/3 is given out; in it, what belongs to protocols (Teredo, ORCHID) and examples.
            [0x2001, 0x0000..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => Self::Special,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Special,
        }
    }

    /// Whether a host that an upstream named may have such an address, when the upstream itself lives
    /// at `home`. Nobody's redirect leads to the local wire.
    pub(super) fn allowed_from(self, home: Option<Self>) -> bool {
        match self {
            Self::Public => true,
            Self::Loopback | Self::Private => home == Some(self),
            Self::LinkLocal | Self::Special => false,
        }
    }
}

/// The IPv4 address that an IPv6 one really stands for: mapped, NAT64 (RFC 6052) and 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(joined(high, low)),
        [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Special => "a reserved address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_of_known_addresses() {
        use Class::{LinkLocal, Loopback, Private, Public, Special};
        for (text, want) in [
            ("8.8.8.8", Public),
            ("172.15.0.1", Public),
            ("172.32.0.1", Public),
            ("100.63.0.1", Public),
            ("100.128.0.1", Public),
            ("2606:4700::1111", Public),
            ("64:ff9b::8.8.8.8", Public),
            ("127.0.0.1", Loopback),
            ("127.9.9.9", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.127.255.255", Private),
            ("fd12::1", Private),
            ("fc00::1", Private),
            ("fec0::1", Private),
            ("::ffff:10.0.0.1", Private),
            ("64:ff9b::10.0.0.1", Private),
            ("2002:a00:1::1", Private),
            ("169.254.169.254", LinkLocal),
            ("::ffff:169.254.169.254", LinkLocal),
            ("64:ff9b::169.254.169.254", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("0.0.0.0", Special),
            ("0.1.2.3", Special),
            ("::", Special),
            ("::127.0.0.1", Special),
            ("224.0.0.1", Special),
            ("255.255.255.255", Special),
            ("240.0.0.1", Special),
            ("192.0.2.1", Special),
            ("198.18.0.1", Special),
            ("192.0.0.192", Special),
            ("168.63.129.16", Special),
            ("100.100.100.200", Special),
            ("::ffff:168.63.129.16", Special),
            ("fd00:ec2::254", Special),
            ("ff02::1", Special),
            ("2001:db8::1", Special),
            ("2001::1", Special),
            ("64:ff9b:1::1", Special),
        ] {
            assert_eq!(Class::of(text.parse().unwrap()), want, "{text}");
        }
    }

    #[test]
    fn who_may_lead_where() {
        use Class::{LinkLocal, Loopback, Private, Public, Special};
        for home in [None, Some(Public), Some(Loopback), Some(Private), Some(LinkLocal), Some(Special)] {
            assert!(Public.allowed_from(home));
            assert_eq!(Loopback.allowed_from(home), home == Some(Loopback));
            assert_eq!(Private.allowed_from(home), home == Some(Private));
            assert!(!LinkLocal.allowed_from(home));
            assert!(!Special.allowed_from(home));
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_in_disguise_keeps_its_class(raw: u32) {
            let v4 = Ipv4Addr::from(raw);
            let class = Class::of(v4.into());
            prop_assert_eq!(Class::of(v4.to_ipv6_mapped().into()), class);
            let [a, b, c, d] = v4.octets().map(u16::from);
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d);
            prop_assert_eq!(Class::of(nat64.into()), class);
        }

        #[test]
        fn only_global_unicast_is_public(raw: u128) {
            let v6 = Ipv6Addr::from(raw);
            if embedded_v4(v6).is_none() && Class::of(v6.into()) == Class::Public {
                prop_assert_eq!(raw >> 125, 1);
            }
        }
    }
}
