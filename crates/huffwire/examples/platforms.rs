//! Prints the platforms of this machine, slowest first, as `HUFFWIRE_PLATFORM` takes them.

use huffwire::Platform;

fn main() {
    for platform in Platform::available() {
        println!("{platform}");
    }
}
