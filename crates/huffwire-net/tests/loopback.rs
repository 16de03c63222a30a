//! Ranks in threads, joined by real sockets on this machine.

#![allow(clippy::unwrap_used)] // A test says with a panic what does not hold.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use huffwire_net::greeting::{ANSWER, Caller, GREETING, greeting};
use huffwire_net::{Error, Listener, Mesh, Message, Peer, Ports, Result, Secret};
use proptest::prelude::*;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LONG: Duration = Duration::from_secs(20);

fn secret(rank: usize) -> Secret {
    Secret::new([rank as u8 + 1; 32])
}

fn listen(rank: usize) -> (Listener, Peer) {
    let listener = Listener::bind(LOCAL, Ports::ANY, secret(rank)).unwrap();
    let address = listener.address().unwrap();
    (listener, Peer { address, secret: secret(rank) })
}

/// All peers of a rank.
fn others(peers: &[Peer], rank: usize) -> Vec<Option<Peer>> {
    peers.iter().enumerate().map(|(other, peer)| (other != rank).then_some(*peer)).collect()
}

/// Runs `body` for each rank, in a thread of its own, on a mesh of all of them.
fn group<R: Send>(
    ranks: usize,
    timeout: Duration,
    body: impl Fn(usize, Mesh) -> R + Sync,
) -> Vec<R> {
    let (listeners, peers): (Vec<_>, Vec<_>) = (0..ranks).map(listen).unzip();
    let (body, peers) = (&body, &peers);
    thread::scope(|scope| {
        let threads: Vec<_> = listeners
            .into_iter()
            .enumerate()
            .map(|(rank, listener)| {
                scope.spawn(move || {
                    let peers = others(peers, rank);
                    let mesh = listener.connect(rank, &peers, timeout, &mut || true).unwrap();
                    body(rank, mesh)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn message(head: &[u8], body: Vec<u8>) -> Message {
    Message::new(head.to_vec(), Arc::new(body))
}

fn bytes(rank: usize, salt: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + rank * 7 + salt) as u8).collect()
}

fn receive(mesh: &Mesh, rank: usize, length: usize) -> Result<Vec<u8>> {
    let mut into = vec![0; length];
    mesh.receive(rank, &mut into, &mut || true)?;
    Ok(into)
}

#[test]
fn messages_of_all_lengths_arrive_in_order() {
    let lengths = [0usize, 1, 100, 65_000, 66_000, 3_000_000, 5, 1 << 20, 0, 7];
    group(4, LONG, |rank, mesh| {
        let peers: Vec<usize> = (0..4).filter(|&peer| peer != rank).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                let tickets: Vec<_> = lengths
                    .iter()
                    .enumerate()
                    .map(|(salt, &length)| {
                        let head = [salt as u8; 9];
                        mesh.send(&peers, message(&head, bytes(rank, salt, length))).unwrap()
                    })
                    .collect();
                for ticket in tickets {
                    ticket.wait(&mut || true).unwrap();
                }
            });
            for (salt, &length) in lengths.iter().enumerate() {
                for &peer in &peers {
                    assert_eq!(receive(&mesh, peer, 9).unwrap(), [salt as u8; 9]);
                    assert!(receive(&mesh, peer, length).unwrap() == bytes(peer, salt, length));
                }
            }
        });
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// What is sent in any pieces is received in any other ones.
    #[test]
    fn the_stream_is_what_was_sent(
        lengths in prop::collection::vec(0usize..200_000, 1..12),
        heads in prop::collection::vec(0usize..100, 12),
        cuts in prop::collection::vec(1usize..300_000, 1..20),
    ) {
        let whole: Vec<u8> = lengths.iter().zip(&heads).enumerate().flat_map(|(salt, (&length, &head))| {
            let mut part = vec![salt as u8; head];
            part.extend(bytes(0, salt, length));
            part
        }).collect();
        let (lengths, heads, cuts, whole) = (&lengths, &heads, &cuts, &whole);
        group(2, LONG, |rank, mesh| {
            if rank == 0 {
                let tickets: Vec<_> = lengths.iter().zip(heads).enumerate().map(|(salt, (&length, &head))| {
                    mesh.send(&[1], message(&vec![salt as u8; head], bytes(0, salt, length))).unwrap()
                }).collect();
                for ticket in tickets {
                    ticket.wait(&mut || true).unwrap();
                }
                // Wait for the other end, which closing would cut off.
                receive(&mesh, 1, 1).unwrap();
            } else {
                let mut found = Vec::new();
                for cut in cuts.iter().cycle() {
                    let next = (*cut).min(whole.len() - found.len());
                    found.extend(receive(&mesh, 0, next).unwrap());
                    if found.len() == whole.len() {
                        break;
                    }
                }
                assert!(&found == whole);
                mesh.send(&[0], message(b"!", Vec::new())).unwrap().wait(&mut || true).unwrap();
                thread::sleep(Duration::from_millis(50));
            }
        });
    }
}

#[test]
fn strangers_neither_hang_nor_break_a_group() {
    let (listeners, peers): (Vec<_>, Vec<_>) = (0..2).map(listen).unzip();
    let door = peers[0].address;
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let caller = Caller { from: 1, to: 0, ranks: 2 };
    let wrong = greeting(caller, &Secret::new([9; 32]));
    let right = greeting(caller, &secret(0));
    let me = greeting(Caller { from: 0, ..caller }, &secret(0));
    let far = greeting(Caller { from: 7, ..caller }, &secret(0));
    let larger = greeting(Caller { ranks: 3, ..caller }, &secret(0));
    // Who scans ports, who stays silent, who speaks another protocol, who guesses, who sends half a greeting, and who
    // sends more than a greeting.
    let mut silent: Vec<TcpStream> = (0..90).map(|_| TcpStream::connect(door).unwrap()).collect();
    silent.push(send(&right[..GREETING - 1]));
    let mut refused = vec![
        send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        send(&wrong),
        send(&[wrong.as_slice(), &[0; 5000]].concat()),
    ];
    let mut unexpected = vec![send(&me), send(&far), send(&larger)];
    drop(send(b""));
    send(&right[..3]).shutdown(Shutdown::Both).unwrap();
    let peers = &peers;
    thread::scope(|scope| {
        let started = Instant::now();
        for (rank, listener) in listeners.into_iter().enumerate() {
            scope.spawn(move || {
                // They have been there first.
                thread::sleep(Duration::from_millis(300 * rank as u64));
                let mesh =
                    listener.connect(rank, &others(peers, rank), LONG, &mut || true).unwrap();
                let ticket = mesh.send(&[1 - rank], message(b"", vec![rank as u8; 10])).unwrap();
                assert_eq!(receive(&mesh, 1 - rank, 10).unwrap(), [1 - rank as u8; 10]);
                ticket.wait(&mut || true).unwrap();
                thread::sleep(Duration::from_millis(100));
                assert!(started.elapsed() < LONG);
            });
        }
    });
    for stream in &mut refused {
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut answer = Vec::new();
        // The end comes with or without an error, and before it nothing.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    for stream in &mut unexpected {
        let mut answer = [0; ANSWER];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[21], 2);
    }
}

#[test]
fn who_answers_wrongly_is_no_rank() {
    let (listener, _) = listen(0);
    let fake = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let address = fake.local_addr().unwrap();
    let peers = [None, Some(Peer { address, secret: secret(1) })];
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = fake.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            thread::sleep(Duration::from_millis(100));
        });
        let error = listener.connect(0, &peers, LONG, &mut || true).err().unwrap();
        assert!(matches!(error, Error::Stranger { rank: 1, .. }), "{error}");
    });
}

/// What rank 0 gets when the connection that it opens to rank 1 is answered so.
fn answered(reply: &[u8]) -> Error {
    let (listener, _) = listen(0);
    let fake = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let peers = [None, Some(Peer { address: fake.local_addr().unwrap(), secret: secret(1) })];
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = fake.accept().unwrap();
            stream.read_exact(&mut [0; GREETING]).unwrap();
            stream.write_all(reply).unwrap();
        });
        listener.connect(0, &peers, LONG, &mut || true).err().unwrap()
    })
}

#[test]
fn refusals_are_told_apart() {
    use huffwire_net::greeting::{Status, answer};
    let error = answered(&answer(Status::Unexpected, &secret(1)));
    assert!(matches!(error, Error::Unexpected { rank: 1, from: 0 }), "{error}");
    let mut other = answer(Status::OtherVersion, &secret(1));
    other[20] = 3;
    let error = answered(&other);
    assert!(matches!(error, Error::Version { theirs: 3, ours: 1 }), "{error}");
    let error = answered(&answer(Status::Welcome, &secret(1))[..10]);
    assert!(matches!(error, Error::Ended { rank: 1, missing: 14 }), "{error}");
    let error = answered(b"");
    assert!(matches!(error, Error::Ended { rank: 1, .. }), "{error}");
}

#[test]
fn a_member_of_another_version_ends_the_attempt() {
    let (listener, peer) = listen(0);
    let silent = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let peers = [None, Some(Peer { address: silent.local_addr().unwrap(), secret: secret(1) })];
    let mut bytes = greeting(Caller { from: 1, to: 0, ranks: 2 }, &secret(0));
    bytes[20] = 2;
    let mut stream = TcpStream::connect(peer.address).unwrap();
    stream.write_all(&bytes).unwrap();
    let error = listener.connect(0, &peers, LONG, &mut || true).err().unwrap();
    assert!(matches!(error, Error::Version { theirs: 2, .. }), "{error}");
    let mut answer = [0; ANSWER];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((answer[20], answer[21]), (1, 1));
}

#[test]
fn nobody_there_and_nobody_coming() {
    let short = Duration::from_millis(400);
    // A port that nobody listens on.
    let gone = std::net::TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap();
    let (listener, _) = listen(0);
    let peers = [None, Some(Peer { address: gone, secret: secret(1) })];
    let error = listener.connect(0, &peers, short, &mut || true).err().unwrap();
    assert!(matches!(error, Error::Unreachable { rank: 1, .. }), "{error}");
    // A rank that is there and does not answer: the system takes the connection for it.
    let stalled = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let peers = [None, Some(Peer { address: stalled.local_addr().unwrap(), secret: secret(1) })];
    let (listener, _) = listen(0);
    let started = Instant::now();
    let error = listener.connect(0, &peers, short, &mut || true).err().unwrap();
    assert!(matches!(error, Error::TimedOut { rank: 1, .. }), "{error}");
    assert!(started.elapsed() >= short);
    // Who is asked to stop stops.
    let (listener, _) = listen(0);
    let error = listener.connect(0, &peers, LONG, &mut || false).err().unwrap();
    assert!(matches!(error, Error::Interrupted), "{error}");
}

#[test]
fn a_rank_that_leaves_is_noticed_at_once() {
    let started = Instant::now();
    group(2, LONG, |rank, mesh| {
        if rank == 0 {
            let ticket = mesh.send(&[1], message(b"head", vec![1; 100])).unwrap();
            ticket.wait(&mut || true).unwrap();
        } else {
            // Of 205 bytes come 104 and a farewell.
            let error = receive(&mesh, 0, 205).unwrap_err();
            assert!(matches!(error, Error::Ended { rank: 0, missing: 100 }), "{error}");
        }
    });
    assert!(started.elapsed() < LONG);
}

#[test]
fn a_rank_that_stalls_is_noticed_by_both_ends() {
    let short = Duration::from_millis(500);
    group(2, short, |rank, mesh| {
        if rank == 0 {
            // More than the system's buffers take.
            let ticket = mesh.send(&[1], message(b"", vec![1; 64 << 20])).unwrap();
            let behind = mesh.send(&[1], message(b"", vec![1; 10])).unwrap();
            let error = ticket.wait(&mut || true).unwrap_err();
            assert!(matches!(error, Error::TimedOut { rank: 1, .. }), "{error}");
            assert!(behind.wait(&mut || true).is_err());
            assert!(mesh.send(&[1], message(b"", vec![])).unwrap().wait(&mut || true).is_err());
            let error = receive(&mesh, 1, 1).unwrap_err();
            assert!(matches!(error, Error::TimedOut { rank: 1, .. }), "{error}");
        } else {
            thread::sleep(4 * short);
        }
    });
}

#[test]
fn a_last_message_tells_why_and_takes_the_place_of_others() {
    // A message that has not begun would be replaced, too.
    let begins = Barrier::new(2);
    group(3, LONG, |rank, mesh| {
        if rank == 0 {
            let begun = mesh.send(&[1, 2], message(b"", vec![1; 48 << 20])).unwrap();
            let waiting = mesh.send(&[1, 2], message(b"", vec![2; 1 << 20])).unwrap();
            begins.wait();
            let started = Instant::now();
            mesh.fail(message(b"", b"out of luck".to_vec()), Duration::from_secs(2));
            assert!(started.elapsed() < LONG);
            // Rank 2 never reads, so it was cut off.
            assert!(begun.wait(&mut || true).is_err());
            assert!(waiting.wait(&mut || true).is_err());
        } else if rank == 1 {
            assert_eq!(receive(&mesh, 0, 1).unwrap(), [1]);
            begins.wait();
            let rest = receive(&mesh, 0, (48 << 20) - 1).unwrap();
            assert!(rest.iter().all(|&byte| byte == 1));
            assert_eq!(receive(&mesh, 0, 11).unwrap(), b"out of luck");
            assert!(matches!(receive(&mesh, 0, 1), Err(Error::Ended { .. })));
        } else {
            thread::sleep(Duration::from_secs(4));
        }
    });
}

/// Calls `found` until it holds.
fn eventually(found: impl Fn() -> bool) {
    let started = Instant::now();
    while !found() {
        assert!(started.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_end_is_told_apart_from_a_failure() {
    group(3, LONG, |rank, mesh| match rank {
        0 => {
            // Rank 1 has failed, and rank 2 has left.
            assert_eq!(receive(&mesh, 2, 5).unwrap(), b"done!");
            eventually(|| !mesh.ended().is_empty());
            thread::sleep(Duration::from_millis(200));
            assert_eq!(mesh.ended(), [(1, b"out of luck".to_vec())]);
            assert!(matches!(receive(&mesh, 2, 2), Err(Error::Ended { missing: 1, .. })));
        }
        1 => {
            assert!(mesh.ended().is_empty());
            mesh.fail(message(b"", b"out of luck".to_vec()), Duration::from_secs(1));
            thread::sleep(Duration::from_millis(500));
        }
        _ => {
            let ticket = mesh.send(&[0], message(b"done!", Vec::new())).unwrap();
            ticket.wait(&mut || true).unwrap();
            mesh.close();
            thread::sleep(Duration::from_millis(500));
        }
    });
}

#[test]
fn who_waits_is_woken_by_the_end() {
    group(2, LONG, |rank, mesh| {
        if rank == 0 {
            let ticket = mesh.send(&[1], message(b"", vec![1; 64 << 20])).unwrap();
            thread::scope(|scope| {
                let receiver = scope.spawn(|| receive(&mesh, 1, 1));
                let sender = scope.spawn(|| ticket.wait(&mut || true));
                thread::sleep(Duration::from_millis(200));
                mesh.close();
                assert!(matches!(receiver.join().unwrap(), Err(Error::Closed)));
                assert!(sender.join().unwrap().is_err());
            });
            assert!(matches!(receive(&mesh, 1, 1), Err(Error::Closed)));
        } else {
            thread::sleep(Duration::from_secs(1));
        }
    });
}

#[test]
fn ports_of_a_range_are_used_until_none_is_left() {
    // Some range of two ports that are free.
    let (range, first, second) = (40_000..60_000u16)
        .step_by(2)
        .find_map(|low| {
            let ports: Ports = format!("{low}-{}", low + 1).parse().unwrap();
            let first = Listener::bind(LOCAL, ports, secret(0)).ok()?;
            let second = Listener::bind(LOCAL, ports, secret(0)).ok()?;
            Some((ports, first, second))
        })
        .unwrap();
    assert_eq!(first.address().unwrap().port() + 1, second.address().unwrap().port());
    let error = Listener::bind(LOCAL, range, secret(0)).err().unwrap();
    assert!(error.to_string().contains(&range.to_string()), "{error}");
}

#[test]
fn ipv6_works_where_the_machine_has_it() {
    let Ok(listener) = Listener::bind(Ipv6Addr::LOCALHOST.into(), Ports::ANY, secret(0)) else {
        return;
    };
    let (other, peer) = listen(1);
    let here = Peer { address: listener.address().unwrap(), secret: secret(0) };
    assert!(matches!(here.address, SocketAddr::V6(_)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mesh = other.connect(1, &[Some(here), None], LONG, &mut || true).unwrap();
            mesh.send(&[0], message(b"six", vec![])).unwrap().wait(&mut || true).unwrap();
        });
        let mesh = listener.connect(0, &[None, Some(peer)], LONG, &mut || true).unwrap();
        assert_eq!(receive(&mesh, 1, 3).unwrap(), b"six");
    });
}
