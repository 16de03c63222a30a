#![no_main]
#[path = "../../crates/huffwire-net/tests/fuzz_bodies/mod.rs"]
mod bodies;
libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::greeting(data));
