//! Whether coding pays on a link: how long a transfer takes plain and coded, from which size coding is faster, and how
//! many cores that takes.
//!
//! Everything here is a pure function of figures that the caller knows or has measured. So all ends of a link decide
//! alike, if they agree on the figures.
//!
//! # The model
//!
//! A transfer takes the time of the link for its bytes and the time of the processor for coding, as far as these do not
//! overlap ([`Overlap`]), and a part that does not depend on the size:
//!
//! ```text
//! plain = sent / link + latency
//! coded = together(wire, processor) + edges + fixed + latency
//! ```
//!
//! `wire` is what is left of the bytes after coding, divided by the link's speed. Where both go on side by side, the first
//! piece has to be coded before the link has work, and the last one decoded after it: the *edges*. A [`Transport`] adds
//! what its own copies and steps cost.
//!
//! What a rank sends in a collective among `n` ranks on a tensor of `s` bytes: `s (n - 1) / n` in gathers, scatters and
//! all_to_all, twice that in all_reduce, `s` in a broadcast and from one rank to another.
//!
//! gloo's own all_to_all and broadcast do not keep the link busy both ways, or not all links. The model has how they
//! work instead of a figure for it:
//!
//! * **all_to_all** (gloo's `alltoall.cc` and `transport/tcp/pair.cc`): a rank sends a part to a peer when that peer has
//!   said that it is ready to receive. Whoever comes second finds the peer ready, and puts its whole part into the
//!   connection; its own word that it is ready waits behind it. So between two ranks one way follows the other.
//! * **broadcast** (`broadcast.cc`): a binomial tree. The root starts to send to all its children at once, and they share
//!   its link. A child passes the tensor on when it has all of it. So the tensor takes the time of the link as many times
//!   as there are children on the way to the last rank, and children of those on the way: once with 2 ranks, 3 times
//!   with 4, 6 times with 8.
//!
//! ```
//! use huffwire::link::{Codec, Collective, Link, Model, Transport};
//!
//! // A third less at 10 GB/s and back at 11 GB/s, on a link of 10 Gbit/s.
//! let codec = Codec { encode: 10e9, decode: 11e9, left: 0.66, fixed: 2e-6 };
//! let link = Link::new(1.25e9, 20e-6);
//! let model = Model::new(link, codec, Collective::Send, 2);
//! assert!(model.pays(64 << 20));
//! assert!(model.break_even().is_some_and(|size| size < 1 << 20));
//!
//! // At 100 Gbit/s one core is too slow, whether coding and sending overlap or not.
//! let fast = Model { link: Link::new(12.5e9, 20e-6), ..model };
//! assert!(!fast.pays(64 << 20) && fast.break_even().is_none());
//! let overlapped = Model { transport: Transport::overlapped(), ..fast };
//! assert!(!overlapped.pays(64 << 20));
//! assert_eq!(overlapped.cores_to_pay(64 << 20), Some(2));
//! ```

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What the slowest link between two ranks does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Bytes a second, one way, while both ways are in use.
    pub bytes_per_second: f64,
    /// Bytes a second while only one way is in use, which may be more where processors are busy.
    pub one_way: f64,
    /// Seconds from the sending of a short message until it is received.
    pub latency: f64,
}

/// What a codec does with one element type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codec {
    /// Bytes of elements that one core encodes in a second.
    pub encode: f64,
    /// Bytes of elements that one core decodes in a second.
    pub decode: f64,
    /// The part of the bytes that is left after coding: 0.66 where a third is saved.
    pub left: f64,
    /// Seconds that a message takes to encode and to decode, however small it is.
    pub fixed: f64,
}

/// A collective operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Collective {
    /// From one rank to another.
    Send,
    /// From one rank to all.
    Broadcast,
    /// Each rank's part to all.
    AllGather,
    /// A sum, of which each rank gets a part.
    ReduceScatter,
    /// A sum that all ranks get.
    AllReduce,
    /// A part from each rank to each other one.
    AllToAll,
}

/// A way to carry a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// By the transport's own collective.
    Plain,
    /// In pieces, uncoded.
    Raw,
    /// In pieces, coded.
    Coded,
}

/// How far link and processor work at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// A tensor is coded before it is sent: their times are added.
    None,
    /// They work side by side, but wait for each other, the more so the more alike their times are: the root of the sum
    /// of the squares, which is what gloo with threads beside it was found to take.
    Partial,
    /// The longer time counts.
    Full,
}

/// What carries the bytes, and what it adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transport {
    /// How far coding and sending overlap.
    pub overlap: Overlap,
    /// Bytes of elements in a piece, where coding and sending overlap.
    pub piece: f64,
    /// Bytes a second at which one core brings memory to the link or from it.
    pub copy: f64,
    /// Bytes a second at which one core adds two tensors, or copies one within the memory.
    pub add: f64,
    /// Seconds that each step of a collective in pieces takes beside the latency.
    pub fixed: f64,
    /// Seconds that each step of a plain collective takes beside the latency, where another library carries it.
    pub plain_fixed: f64,
    /// Whether the transport's own collectives are gloo's, which take longer than their bytes do on the link: gloo copies
    /// and waits between its steps, and its all_to_all and broadcast use the link as the module says.
    pub is_gloo: bool,
}

/// How long transfers of one kind take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// The link.
    pub link: Link,
    /// The codec of the slowest rank.
    pub codec: Codec,
    /// The operation.
    pub collective: Collective,
    /// Number of ranks, at least 2.
    pub ranks: u32,
    /// Cores of each rank that code. They are taken to be as fast together as one is, times their number.
    pub cores: u32,
    /// What carries the bytes.
    pub transport: Transport,
    /// How many times as fast a way in pieces has to be before it is preferred to the plain one; 1 or more.
    pub margin: f64,
}

/// Sizes and links beyond these are not looked at.
const LARGEST: u64 = 1 << 44;
const MOST_CORES: u32 = 1024;

impl Collective {
    /// All operations.
    pub const ALL: [Self; 6] = [
        Self::Send,
        Self::Broadcast,
        Self::AllGather,
        Self::ReduceScatter,
        Self::AllReduce,
        Self::AllToAll,
    ];

    /// The name, as in `torch.distributed`: `all_gather`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Broadcast => "broadcast",
            Self::AllGather => "all_gather",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllReduce => "all_reduce",
            Self::AllToAll => "all_to_all",
        }
    }

    /// Whether a rank only sends or only receives.
    const fn is_one_way(self) -> bool {
        matches!(self, Self::Send | Self::Broadcast)
    }

    /// Steps that follow each other: none starts before the first piece of the one before.
    const fn steps(self) -> f64 {
        if matches!(self, Self::AllReduce) { 2.0 } else { 1.0 }
    }

    /// How many times as long as the bytes of a rank take on the link gloo's collective keeps one way of it busy: see the
    /// module.
    fn times_over_gloo(self, ranks: u32) -> f64 {
        match self {
            Self::Broadcast => f64::from(shares_of_tree(ranks)),
            Self::AllToAll => 2.0,
            _ => 1.0,
        }
    }

    /// Seconds for a byte that gloo's collective takes beyond what the link takes.
    const fn gloo(self) -> f64 {
        match self {
            Self::Send | Self::Broadcast => 0.05e-9,
            Self::AllGather => 1.6e-9,
            Self::ReduceScatter => 2.2e-9,
            Self::AllReduce | Self::AllToAll => 0.4e-9,
        }
    }
}

/// How many times the tensor crosses a link before gloo's broadcast has reached all ranks.
///
/// The tree of `n` ranks has as many children of the root as `n - 1` has binary digits. While they get the tensor it
/// crosses the root's link that many times. The largest of their trees is the first child's, with half of the ranks.
const fn shares_of_tree(ranks: u32) -> u32 {
    let (mut ranks, mut shares) = (ranks, 0);
    while ranks > 1 {
        shares += u32::BITS - (ranks - 1).leading_zeros();
        ranks /= 2;
    }
    shares
}

impl fmt::Display for Collective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Collective {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|collective| collective.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::InvalidOption(format!("no collective {name:?}; there are {names}").into())
        })
    }
}

impl Link {
    /// A link that is as fast with both ways in use as with one.
    #[must_use]
    pub const fn new(bytes_per_second: f64, latency: f64) -> Self {
        Self { bytes_per_second, one_way: bytes_per_second, latency }
    }
}

impl Overlap {
    /// What both take together. Only operations that all processors round alike: ranks must agree.
    fn together(self, wire: f64, processor: f64) -> f64 {
        match self {
            Self::None => wire + processor,
            Self::Partial => (wire * wire + processor * processor).sqrt(),
            Self::Full => wire.max(processor),
        }
    }
}

impl Transport {
    /// A transport that costs nothing; tensors are coded as wholes before they are sent.
    #[must_use]
    pub const fn serial() -> Self {
        Self {
            overlap: Overlap::None,
            piece: 1048576.0,
            copy: f64::INFINITY,
            add: f64::INFINITY,
            fixed: 0.0,
            plain_fixed: 0.0,
            is_gloo: false,
        }
    }

    /// A transport that costs nothing, and codes and sends pieces of 1 MiB side by side.
    #[must_use]
    pub const fn overlapped() -> Self {
        Self { overlap: Overlap::Full, ..Self::serial() }
    }

    /// PyTorch's gloo backend, and pieces of 1 MiB sent over it point to point by threads.
    #[must_use]
    pub const fn gloo() -> Self {
        Self {
            overlap: Overlap::Partial,
            copy: 1.3e9,
            add: 6e9,
            fixed: 300e-6,
            is_gloo: true,
            ..Self::serial()
        }
    }

    /// PyTorch's gloo backend, and pieces of 1 MiB sent beside it over TCP connections of their own.
    ///
    /// Measured in turns with gloo on 22 November 2026: 2 ranks on the 2 cores of an AMD EPYC, which did much other work,
    /// in the setting of `docs/collectives.md`. Raw pieces of 64 MiB took gloo 1.25 to 1.6 times the processor time of
    /// TCP, and coded calls on 4 KiB 2.5 to 40 times as long. gloo's own calls on 4 KiB took 30 to 1000 microseconds
    /// longer than those over TCP in five of six comparisons, and 190 less in one.
    #[must_use]
    pub const fn tcp() -> Self {
        Self { copy: 1.9e9, fixed: 50e-6, plain_fixed: 100e-6, ..Self::gloo() }
    }
}

impl Model {
    /// A model for tensors that are coded as wholes on one core.
    #[must_use]
    pub const fn new(link: Link, codec: Codec, collective: Collective, ranks: u32) -> Self {
        Self {
            link,
            codec,
            collective,
            ranks,
            cores: 1,
            transport: Transport::serial(),
            margin: 1.0,
        }
    }

    /// Bytes that a rank sends for a tensor of `size` bytes: the output of a gather, the input of other operations.
    #[must_use]
    pub fn sent(&self, size: u64) -> f64 {
        let (size, ranks) = (size as f64, f64::from(self.ranks.max(1)));
        match self.collective {
            Collective::Send | Collective::Broadcast => size,
            Collective::AllReduce => 2.0 * size * (ranks - 1.0) / ranks,
            _ => size * (ranks - 1.0) / ranks,
        }
    }

    /// Seconds on the link, and seconds of the processor of one rank (of both, in turn, where one rank sends and another
    /// one receives and nothing overlaps).
    fn parts(&self, way: Way, size: u64) -> (f64, f64) {
        let sent = self.sent(size);
        let (size, ranks, cores) =
            (size as f64, f64::from(self.ranks.max(1)), f64::from(self.cores.max(1)));
        let Transport { copy, add, overlap, .. } = self.transport;
        let one_way = self.collective.is_one_way();
        let left = if way == Way::Coded { self.codec.left } else { 1.0 };
        let speed = if one_way { self.link.one_way } else { self.link.bytes_per_second };
        let wire = sent * left / speed;
        // Each piece is coded once, however many ranks get it.
        let encoded = match self.collective {
            Collective::Send | Collective::Broadcast => size,
            Collective::AllGather => size / ranks,
            Collective::AllToAll | Collective::ReduceScatter => sent,
            Collective::AllReduce => sent / 2.0 + size / ranks,
        };
        // A core that does one of both reaches more of it.
        let copied = sent * left / if one_way { 2.0 * copy } else { copy };
        let (encode, decode) = match way {
            Way::Coded => (self.codec.encode * cores, self.codec.decode * cores),
            Way::Plain | Way::Raw => (add, add),
        };
        let sender = copied + encoded / encode;
        let mut receiver = copied + sent / decode;
        if matches!(self.collective, Collective::ReduceScatter | Collective::AllReduce) {
            receiver += size * (ranks - 1.0) / ranks / add;
        }
        let side_by_side = one_way && overlap != Overlap::None;
        (wire, if side_by_side { sender.max(receiver) } else { sender + receiver })
    }

    /// Seconds that gloo's collective takes for its bytes.
    fn over_gloo(&self, size: u64) -> f64 {
        let times = self.collective.times_over_gloo(self.ranks.max(2));
        // Where one way of the link is used after the other, each has the speed of one way alone.
        let speed = if self.collective.is_one_way() || times > 1.0 {
            self.link.one_way
        } else {
            self.link.bytes_per_second
        };
        times * self.sent(size) / speed + size as f64 * self.collective.gloo()
    }

    /// Seconds that a transfer of a tensor of `size` bytes takes.
    #[must_use]
    pub fn seconds(&self, way: Way, size: u64) -> f64 {
        let steps = self.collective.steps();
        let latency = self.link.latency * steps;
        let (wire, processor) = self.parts(way, size);
        if way == Way::Plain {
            let wire = if self.transport.is_gloo { self.over_gloo(size) } else { wire };
            return wire + latency + steps * self.transport.plain_fixed;
        }
        let Transport { overlap, piece, fixed, .. } = self.transport;
        let mut seconds = overlap.together(wire, processor);
        if overlap != Overlap::None {
            let ranks = if self.collective.is_one_way() { 1 } else { self.ranks.max(1) };
            let piece = piece.min(size as f64 / f64::from(ranks));
            seconds += steps * piece * (1.0 / self.codec.encode + 1.0 / self.codec.decode);
        }
        let message = if way == Way::Coded { self.codec.fixed } else { 0.0 };
        seconds + latency + steps * (fixed + message)
    }

    /// The fastest way, with [`Model::margin`] in favour of the plain one.
    #[must_use]
    pub fn best(&self, size: u64) -> Way {
        let [plain, raw, coded] =
            [Way::Plain, Way::Raw, Way::Coded].map(|way| self.seconds(way, size));
        if raw.min(coded) * self.margin >= plain {
            Way::Plain
        } else if coded <= raw {
            Way::Coded
        } else {
            Way::Raw
        }
    }

    /// Whether a coded transfer is faster than a plain one, by the margin.
    #[must_use]
    pub fn pays(&self, size: u64) -> bool {
        self.seconds(Way::Coded, size) * self.margin < self.seconds(Way::Plain, size)
    }

    /// The smallest size from which on coding pays; `None` if it does not for tensors of 16 TiB.
    #[must_use]
    pub fn break_even(&self) -> Option<u64> {
        if !self.pays(LARGEST) {
            return None;
        }
        // The last size that does not pay lies below the first power of two from which on all of them do.
        let (mut low, mut high) = (0, LARGEST);
        while high > 1 && self.pays(high / 2) {
            high /= 2;
        }
        if high > 1 {
            low = high / 2;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.pays(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// The smallest number of cores with which coding pays for a tensor of `size` bytes; `None` if 1024 are too few.
    #[must_use]
    pub fn cores_to_pay(&self, size: u64) -> Option<u32> {
        (1..=MOST_CORES).find(|&cores| Self { cores, ..*self }.pays(size))
    }

    /// The smallest number of cores with which coding takes no longer than the link takes for the coded bytes; `None` if
    /// 1024 are too few.
    #[must_use]
    pub fn cores_to_keep_up(&self, size: u64) -> Option<u32> {
        (1..=MOST_CORES).find(|&cores| {
            let (wire, processor) = Self { cores, ..*self }.parts(Way::Coded, size);
            processor <= wire
        })
    }

    /// Bytes a second of the fastest link, with the latency of this one, on which coding pays for a tensor of `size`
    /// bytes; 0 if it pays on none.
    #[must_use]
    pub fn fastest_link(&self, size: u64) -> f64 {
        let pays = |bytes_per_second: f64| {
            let link = Link::new(bytes_per_second, self.link.latency);
            Self { link, ..*self }.pays(size)
        };
        let (mut low, mut high) = (1.0f64, 1e15);
        if !pays(low) {
            return 0.0;
        }
        // To a millionth: sixty halvings of the ratio.
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if pays(middle) { low = middle } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODEC: Codec = Codec { encode: 10e9, decode: 11e9, left: 0.66, fixed: 0.0 };

    fn gbit(gbit: f64) -> Link {
        Link::new(gbit * 1e9 / 8.0, 0.0)
    }

    fn model(collective: Collective, link: Link) -> Model {
        Model::new(link, CODEC, collective, 2)
    }

    /// The figures of the README.
    #[test]
    fn one_core_pays_up_to_14_gbit_and_side_by_side_up_to_80() {
        let serial = model(Collective::Send, gbit(1.0));
        assert!((serial.fastest_link(1 << 30) * 8e-9 - 14.25).abs() < 0.01);
        let overlapped = Model { transport: Transport::overlapped(), ..serial };
        let limit = overlapped.fastest_link(1 << 34) * 8e-9;
        assert!((limit / 80.0 - 1.0).abs() < 0.01, "{limit}");
    }

    #[test]
    fn times_are_those_of_bytes_and_speeds() {
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
        let send = model(Collective::Send, gbit(8.0));
        assert!(close(send.seconds(Way::Plain, 1_000_000_000), 1.0));
        assert!(close(send.seconds(Way::Coded, 1_000_000_000), 0.66 + 0.1 + 1.0 / 11.0));
        // All ranks but one have what is missing; the sum goes both ways.
        for (collective, sent) in [
            (Collective::AllGather, 0.75),
            (Collective::ReduceScatter, 0.75),
            (Collective::AllToAll, 0.75),
            (Collective::AllReduce, 1.5),
            (Collective::Broadcast, 1.0),
        ] {
            let model = Model { ranks: 4, ..model(collective, gbit(8.0)) };
            assert!(close(model.sent(1_000_000_000), sent * 1e9));
            assert!(close(model.seconds(Way::Plain, 1_000_000_000), sent), "{collective}");
        }
        // A rank of a gather encodes its own quarter and decodes the three others.
        let gather = Model { ranks: 4, ..model(Collective::AllGather, gbit(8.0)) };
        let coded = gather.seconds(Way::Coded, 1_000_000_000);
        assert!(close(coded, 0.75 * 0.66 + 0.25 / 10.0 + 0.75 / 11.0));
        let many = Model { cores: 4, ..gather }.seconds(Way::Coded, 1_000_000_000);
        assert!(close(many, 0.75 * 0.66 + (0.25 / 10.0 + 0.75 / 11.0) / 4.0));
    }

    #[test]
    fn from_the_break_even_on_coding_pays_and_below_it_does_not() {
        let mut found = 0;
        for collective in Collective::ALL {
            // Over TCP even an empty call gains by its way, so there is no size that does not pay.
            for transport in [Transport::serial(), Transport::overlapped(), Transport::gloo()] {
                for (speed, fixed, margin) in
                    [(0.2, 0.0, 1.0), (1.0, 1e-5, 1.08), (10.0, 3e-6, 1.0), (400.0, 0.0, 1.0)]
                {
                    let link = Link { latency: 1e-4, ..gbit(speed) };
                    let codec = Codec { fixed, ..CODEC };
                    let model = Model { codec, transport, margin, ..model(collective, link) };
                    let Some(size) = model.break_even() else {
                        assert!(!model.pays(1 << 40), "{model:?}");
                        continue;
                    };
                    found += 1;
                    assert!(model.pays(size) && !model.pays(size - 1), "{size} {model:?}");
                    let larger = (0..20).map(|i| size << i);
                    assert!(
                        larger.take_while(|s| *s < 1 << 44).all(|s| model.pays(s)),
                        "{model:?}"
                    );
                }
            }
        }
        assert!(found > 30, "{found}");
    }

    #[test]
    fn more_cores_pay_on_faster_links() {
        let at = |speed| {
            let model = model(Collective::Send, gbit(speed));
            Model { transport: Transport::overlapped(), ..model }
        };
        let size = 1 << 32;
        assert_eq!(at(25.0).cores_to_pay(size), Some(1));
        assert_eq!(at(100.0).cores_to_pay(size), Some(2));
        assert_eq!(at(400.0).cores_to_pay(size), Some(6));
        // 12.5 GB/s of coded bytes are 18.9 GB/s of elements.
        assert_eq!(at(100.0).cores_to_keep_up(size), Some(2));
        assert_eq!(at(1.0).cores_to_keep_up(size), Some(1));
        assert_eq!(at(1e7).cores_to_keep_up(size), None);
        // What coding does not make smaller never pays.
        let useless = Model { codec: Codec { left: 1.0, ..CODEC }, ..at(0.001) };
        assert_eq!((useless.cores_to_pay(size), useless.break_even()), (None, None));
        assert_eq!(useless.fastest_link(size), 0.0);
    }

    #[test]
    fn gloo_is_beaten_by_pieces_where_its_own_collectives_are_slow() {
        let on = |collective, speed| {
            let link = Link { latency: 500e-6, ..gbit(speed) };
            let codec = Codec { encode: 5e9, decode: 6e9, left: 0.68, fixed: 0.0 };
            let model = Model::new(link, codec, collective, 2);
            Model { transport: Transport::gloo(), margin: 1.08, ..model }
        };
        assert_eq!(on(Collective::AllReduce, 1.0).best(64 << 20), Way::Coded);
        assert_eq!(on(Collective::AllReduce, 100.0).best(64 << 20), Way::Plain);
        assert_eq!(on(Collective::AllGather, 1.0).best(4 << 10), Way::Plain);
    }

    /// Times of gloo's calls in milliseconds, measured on links of 1 and 10 Gbit/s (`docs/collectives.md`): ranks, Gbit/s
    /// with both ways and with one way in use, and MiB.
    #[test]
    fn gloo_takes_a_tree_for_broadcasts_and_one_way_after_the_other_for_all_to_all() {
        for (collective, ranks, both, one, mebibytes, measured) in [
            (Collective::AllToAll, 2, 0.977, 0.977, 64, 567.0),
            (Collective::AllToAll, 2, 0.977, 0.977, 16, 139.0),
            (Collective::AllToAll, 2, 3.04, 9.51, 64, 89.1),
            (Collective::AllToAll, 4, 0.971, 0.988, 64, 701.0),
            (Collective::AllToAll, 4, 4.55, 8.59, 64, 139.0),
            (Collective::Broadcast, 2, 0.977, 0.977, 64, 562.0),
            (Collective::Broadcast, 4, 0.971, 0.988, 64, 1700.0),
            (Collective::Broadcast, 4, 0.971, 0.988, 16, 422.0),
            (Collective::Broadcast, 4, 4.55, 8.59, 64, 171.0),
        ] {
            let link = Link { one_way: one * 1e9 / 8.0, latency: 3e-4, ..gbit(both) };
            let model = Model::new(link, CODEC, collective, ranks);
            let gloo = Model { transport: Transport::gloo(), ..model };
            let ratio = gloo.seconds(Way::Plain, mebibytes << 20) * 1e3 / measured;
            assert!((0.8..1.25).contains(&ratio), "{collective}, {ranks} ranks: {ratio}");
        }
        let shares = [1, 2, 3, 4, 5, 7, 8, 9, 16, 1024].map(shares_of_tree);
        assert_eq!(shares, [0, 1, 2, 3, 4, 5, 6, 7, 10, 55]);
    }

    #[test]
    fn tcp_pays_on_faster_links_and_for_smaller_calls_than_gloo() {
        let on = |transport, collective, speed| {
            let link = Link { latency: 50e-6, ..gbit(speed) };
            let model = Model { transport, margin: 1.08, ..model(collective, link) };
            Model { codec: Codec { encode: 6e9, decode: 7e9, left: 0.68, fixed: 0.0 }, ..model }
        };
        let (gloo, tcp) = (Transport::gloo(), Transport::tcp());
        for collective in Collective::ALL {
            for size in [64 << 10, 1 << 20, 64 << 20] {
                let both = [gloo, tcp].map(|transport| on(transport, collective, 10.0));
                let [slow, fast] = both.map(|model| model.seconds(Way::Coded, size));
                assert!(fast < slow, "{collective} {size}");
            }
        }
        assert_eq!(on(gloo, Collective::AllReduce, 10.0).best(64 << 20), Way::Plain);
        assert_eq!(on(tcp, Collective::AllGather, 10.0).best(64 << 20), Way::Coded);
        // A small call gains by its way, not by its code.
        assert_eq!(on(gloo, Collective::AllReduce, 100.0).best(4 << 10), Way::Plain);
        assert_ne!(on(tcp, Collective::AllReduce, 100.0).best(4 << 10), Way::Plain);
    }

    #[test]
    fn names_are_read_back() {
        for collective in Collective::ALL {
            assert_eq!(collective.to_string().parse(), Ok(collective));
        }
        let error = "scatter".parse::<Collective>().unwrap_err().to_string();
        assert!(error.contains("all_gather"), "{error}");
    }
}
