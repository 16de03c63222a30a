//! The first bytes of a connection, and the answer to them.
//!
//! The rank that opens a connection sends a greeting of 36 bytes. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `HWTC` |
//! | 16 | the key of the rank that listens: the first half of its secret |
//! | 1 | version of the protocol |
//! | 1 | direction: 0, the rank that opens the connection sends |
//! | 2 | zeros |
//! | 4 | rank that opens the connection |
//! | 4 | rank that listens |
//! | 4 | number of ranks |
//!
//! Only who shows the key is answered, with 24 bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `HWTA` |
//! | 16 | the proof: the second half of the secret |
//! | 1 | version of the protocol |
//! | 1 | status: 0 welcome, 1 another version, 2 not expected |
//! | 2 | zeros |
//!
//! All up to the version stays the same in all versions.

/// Version of the protocol.
pub const VERSION: u8 = 1;
/// Bytes of a greeting.
pub const GREETING: usize = 36;
/// Bytes of an answer.
pub const ANSWER: usize = 24;

const HELLO: [u8; 4] = *b"HWTC";
const REPLY: [u8; 4] = *b"HWTA";
const SENDS: u8 = 0;

/// What a rank tells the members of its group, and nobody else: its key and its proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of random bytes, which the caller takes from a source that cannot be guessed.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn key(&self) -> &[u8] {
        &self.0[..16]
    }

    fn proof(&self) -> &[u8] {
        &self.0[16..]
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Whether two strings of bytes are equal; the time does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// Who opens a connection, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The rank that opens the connection and sends.
    pub from: u32,
    /// The rank that listens.
    pub to: u32,
    /// The number of ranks.
    pub ranks: u32,
}

/// What a listening rank makes of a greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Who greets does not know the secret.
    Stranger,
    /// A member of the group with another version of the protocol.
    OtherVersion(u8),
    /// A member of the group.
    Member(Caller),
    /// It knows the secret, and asks for something that there is not.
    Malformed,
}

/// How a listening rank answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The connection is taken.
    Welcome,
    /// The versions differ.
    OtherVersion,
    /// No connection from this rank is expected.
    Unexpected,
}

/// What the rank that opened a connection makes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Who answers does not know the secret.
    Stranger,
    /// A member of the group with another version of the protocol.
    OtherVersion(u8),
    /// The connection stands.
    Welcome,
    /// No connection from this rank is expected.
    Unexpected,
}

/// The greeting to a rank.
#[must_use]
pub fn greeting(caller: Caller, listener: &Secret) -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    bytes[..4].copy_from_slice(&HELLO);
    bytes[4..20].copy_from_slice(listener.key());
    bytes[20] = VERSION;
    bytes[21] = SENDS;
    for (place, number) in [caller.from, caller.to, caller.ranks].into_iter().enumerate() {
        bytes[24 + 4 * place..28 + 4 * place].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Whether so many bytes may be the beginning of a greeting. Other protocols fail this by their first bytes.
#[must_use]
pub fn may_be_greeting(begin: &[u8]) -> bool {
    begin.iter().zip(&HELLO).all(|(a, b)| a == b)
}

/// Reads a greeting.
#[must_use]
pub fn hear(bytes: &[u8; GREETING], own: &Secret) -> Heard {
    if bytes[..4] != HELLO || !same(&bytes[4..20], own.key()) {
        return Heard::Stranger;
    }
    if bytes[20] != VERSION {
        return Heard::OtherVersion(bytes[20]);
    }
    if bytes[21..24] != [SENDS, 0, 0] {
        return Heard::Malformed;
    }
    let number =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Heard::Member(Caller { from: number(24), to: number(28), ranks: number(32) })
}

/// The answer to a greeting.
#[must_use]
pub fn answer(status: Status, own: &Secret) -> [u8; ANSWER] {
    let mut bytes = [0; ANSWER];
    bytes[..4].copy_from_slice(&REPLY);
    bytes[4..20].copy_from_slice(own.proof());
    bytes[20] = VERSION;
    bytes[21] = status as u8;
    bytes
}

/// Reads an answer.
#[must_use]
pub fn read_answer(bytes: &[u8; ANSWER], listener: &Secret) -> Answer {
    if bytes[..4] != REPLY || !same(&bytes[4..20], listener.proof()) {
        return Answer::Stranger;
    }
    if bytes[20] != VERSION {
        return Answer::OtherVersion(bytes[20]);
    }
    match bytes[21] {
        0 => Answer::Welcome,
        1 => Answer::OtherVersion(bytes[20]),
        _ => Answer::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret([7; 32]);
    const CALLER: Caller = Caller { from: 3, to: 1, ranks: 1000 };

    #[test]
    fn a_greeting_is_heard() {
        let bytes = greeting(CALLER, &SECRET);
        assert_eq!(hear(&bytes, &SECRET), Heard::Member(CALLER));
        assert!((0..=GREETING).all(|end| may_be_greeting(&bytes[..end])));
        assert!(!may_be_greeting(b"GET / HTTP/1.1"));
    }

    #[test]
    fn every_changed_bit_of_the_secret_makes_a_stranger() {
        let bytes = greeting(CALLER, &SECRET);
        for bit in 0..8 * 20 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(hear(&changed, &SECRET), Heard::Stranger, "bit {bit}");
        }
        let mut other = bytes;
        other[20] = 9;
        assert_eq!(hear(&other, &SECRET), Heard::OtherVersion(9));
        for place in 21..24 {
            let mut other = bytes;
            other[place] = 1;
            assert_eq!(hear(&other, &SECRET), Heard::Malformed);
        }
        // The key alone does not answer for the proof.
        let half = Secret(std::array::from_fn(|i| if i < 16 { 7 } else { 8 }));
        let reply = answer(Status::Welcome, &half);
        assert_eq!(read_answer(&reply, &SECRET), Answer::Stranger);
    }

    #[test]
    fn answers_are_read() {
        for (status, read) in [
            (Status::Welcome, Answer::Welcome),
            (Status::OtherVersion, Answer::OtherVersion(VERSION)),
            (Status::Unexpected, Answer::Unexpected),
        ] {
            assert_eq!(read_answer(&answer(status, &SECRET), &SECRET), read);
        }
        let mut newer = answer(Status::OtherVersion, &SECRET);
        newer[20] = 2;
        assert_eq!(read_answer(&newer, &SECRET), Answer::OtherVersion(2));
        assert_eq!(format!("{SECRET:?}"), "Secret");
    }
}
