//! Byte shuffles that move some of eight bytes together, or apart, for instruction sets that have no compress and
//! expand: a pattern for each of the 256 ways to choose some of eight. (`pext` and `pdep` would do without patterns, but
//! take hundreds of cycles on processors by AMD before Zen 3, and are no faster elsewhere.)

/// By mask of eight bytes: where each byte comes from. 0x80 becomes 0.
pub(super) type Patterns = [[u8; 8]; 256];

/// The chosen bytes together, 0 behind them.
pub(super) static TOGETHER: Patterns = patterns(Kind::Together);

/// The first of eight bytes to the chosen places, 0 to the others.
pub(super) static APART: Patterns = patterns(Kind::Apart);

/// The last of eight bytes to the chosen places, 0 to the others.
pub(super) static LAST_APART: Patterns = patterns(Kind::LastApart);

#[derive(Clone, Copy)]
enum Kind {
    Together,
    Apart,
    LastApart,
}

const fn patterns(kind: Kind) -> Patterns {
    let mut patterns = [[0x80; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        // Those chosen are the last ones of eight.
        let first = 8 - (mask as u8).count_ones() as u8;
        let (mut place, mut rank) = (0, 0);
        while place < 8 {
            if mask >> place & 1 == 1 {
                match kind {
                    Kind::Together => patterns[mask][rank] = place as u8,
                    Kind::Apart => patterns[mask][place] = rank as u8,
                    Kind::LastApart => patterns[mask][place] = first + rank as u8,
                }
                rank += 1;
            }
            place += 1;
        }
        mask += 1;
    }
    patterns
}
