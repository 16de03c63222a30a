//! What must hold of any bytes at all: the body of a fuzz target, which `tests/fuzz.rs` runs, too.

#![allow(unreachable_pub)] // The fuzz target includes this file as its own module.

use huffwire_net::Secret;
use huffwire_net::greeting::{
    ANSWER, Answer, Caller, GREETING, Heard, Status, VERSION, answer, greeting as greeting_to,
    hear, may_be_greeting, read_answer,
};

/// What every greeting begins with, and every answer.
const MARKS: [&[u8; 4]; 2] = [b"HWTC", b"HWTA"];

/// Any bytes as a greeting and as an answer: understood or refused. Only what shows the whole secret is heard.
pub fn greeting(data: &[u8]) {
    let mut bytes = [0; GREETING];
    data.iter().zip(&mut bytes).for_each(|(byte, place)| *place = *byte);
    heard(&bytes, &Secret::new([7; 32]));

    // Who knows the secret gets further: the bytes between mark and version are its first half, or its second one.
    let secret = Secret::new(std::array::from_fn(|i| bytes[4 + i % 16]));
    bytes[..4].copy_from_slice(MARKS[0]);
    heard(&bytes, &secret);
    bytes[..4].copy_from_slice(MARKS[1]);
    let mut short = [0; ANSWER];
    short.copy_from_slice(&bytes[..ANSWER]);
    answered(&short, &secret);
    // One other bit of the secret, and nobody is known.
    let place = 4 + usize::from(bytes[21] % 16);
    short[place] ^= 1 << (bytes[22] % 8);
    assert_eq!(read_answer(&short, &secret), Answer::Stranger);
    bytes[..4].copy_from_slice(MARKS[0]);
    bytes[place] ^= 1 << (bytes[22] % 8);
    assert_eq!(hear(&bytes, &secret), Heard::Stranger);
}

/// Bytes that are heard as those of a member are the greeting of that member, and of nobody else.
fn heard(bytes: &[u8; GREETING], secret: &Secret) {
    let begins = (0..=GREETING).all(|end| may_be_greeting(&bytes[..end]));
    match hear(bytes, secret) {
        Heard::Stranger => return,
        Heard::OtherVersion(version) => {
            assert_eq!(version, bytes[20]);
            assert_ne!(version, VERSION);
        }
        Heard::Member(caller) => assert_eq!(greeting_to(caller, secret), *bytes),
        Heard::Malformed => {
            let well_formed = greeting_to(Caller { from: 1, to: 2, ranks: 3 }, secret);
            assert_ne!(bytes[20..24], well_formed[20..24]);
        }
    }
    assert!(begins, "what is heard was dropped while it came");
}

/// A welcome is one, whatever else the bytes hold.
fn answered(bytes: &[u8; ANSWER], secret: &Secret) {
    let found = read_answer(bytes, secret);
    match found {
        Answer::Stranger => panic!("the bytes show the secret"),
        Answer::OtherVersion(version) => assert_eq!(version, bytes[20]),
        Answer::Welcome => assert_eq!(bytes[..22], answer(Status::Welcome, secret)[..22]),
        Answer::Unexpected => assert!(bytes[20] == VERSION && bytes[21] > 1),
    }
}
