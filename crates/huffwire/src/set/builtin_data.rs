//! The built-in codebooks. Made by `examples/builtin.rs`: do not edit.

use super::shape::{Shape, centred, plain};
use crate::codebook::CodeLimit;

/// Exponents of any float: spread of scales, phase, share of exact zeros.
#[rustfmt::skip]
pub(super) const EXPONENTS: &[Shape] = &[
    // tau 0, phase 0, zeros 0: 2.606 bits, 0.48 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0, zeros 0", lengths: centred(22, &[8,8,8,7,7,5,5,3,2,2,2,5], 8, 0) },
    // tau 0, phase 0.25, zeros 0: 2.615 bits, 0.49 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0.25, zeros 0", lengths: centred(21, &[8,8,8,8,7,5,4,3,3,2,2,3,8], 8, 0) },
    // tau 0, phase 0.5, zeros 0: 2.621 bits, 0.60 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0.5, zeros 0", lengths: centred(21, &[8,8,8,7,6,6,4,3,3,2,2,3,7], 8, 0) },
    // tau 0, phase 0.75, zeros 0: 2.595 bits, 0.56 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0.75, zeros 0", lengths: centred(22, &[8,8,8,7,7,6,4,3,2,2,2,6], 8, 0) },
    // tau 0.4, phase 0, zeros 0: 2.684 bits, 0.52 % over unrestricted Huffman.
    Shape { about: "tau 0.4, phase 0, zeros 0", lengths: centred(22, &[8,8,8,8,7,5,4,4,2,2,2,4,8], 8, 0) },
    // tau 0.4, phase 0.25, zeros 0: 2.680 bits, 0.41 % over unrestricted Huffman.
    Shape { about: "tau 0.4, phase 0.25, zeros 0", lengths: centred(21, &[8,8,8,7,6,6,4,3,3,2,2,3,7], 8, 0) },
    // tau 0.4, phase 0.5, zeros 0: 2.691 bits, 0.36 % over unrestricted Huffman.
    Shape { about: "tau 0.4, phase 0.5, zeros 0", lengths: centred(21, &[8,8,8,7,7,6,4,3,3,2,2,3,6], 8, 0) },
    // tau 0.4, phase 0.75, zeros 0: 2.687 bits, 0.64 % over unrestricted Huffman.
    Shape { about: "tau 0.4, phase 0.75, zeros 0", lengths: centred(22, &[8,8,8,7,7,5,5,3,2,2,2,5], 8, 0) },
    // tau 0.8, phase 0, zeros 0: 2.871 bits, 0.62 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0, zeros 0", lengths: centred(22, &[8,8,8,8,7,6,4,3,3,2,2,3,6,8], 8, 0) },
    // tau 0.8, phase 0.33, zeros 0: 2.849 bits, 0.41 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.33, zeros 0", lengths: centred(21, &[8,8,8,8,7,5,5,3,3,2,2,3,5,8], 8, 0) },
    // tau 0.8, phase 0.67, zeros 0: 2.859 bits, 0.36 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.67, zeros 0", lengths: centred(21, &[8,8,8,7,6,6,4,4,3,2,2,3,4,7], 8, 0) },
    // tau 1.2, phase 0, zeros 0: 3.085 bits, 0.33 % over unrestricted Huffman.
    Shape { about: "tau 1.2, phase 0, zeros 0", lengths: centred(21, &[8,8,8,8,6,6,5,4,3,3,2,2,4,5,7,8], 8, 0) },
    // tau 1.2, phase 0.5, zeros 0: 3.062 bits, 0.43 % over unrestricted Huffman.
    Shape { about: "tau 1.2, phase 0.5, zeros 0", lengths: centred(21, &[8,8,8,8,7,6,4,4,3,2,2,3,4,6,8], 8, 0) },
    // tau 1.8, phase 0, zeros 0: 3.372 bits, 0.44 % over unrestricted Huffman.
    Shape { about: "tau 1.8, phase 0, zeros 0", lengths: centred(21, &[8,8,8,8,6,6,5,4,3,3,2,3,3,4,5,7,8], 8, 0) },
    // tau 3, phase 0, zeros 0: 3.867 bits, 0.43 % over unrestricted Huffman.
    Shape { about: "tau 3, phase 0, zeros 0", lengths: centred(21, &[8,8,8,7,6,6,5,5,4,4,3,3,3,3,4,4,4,5,6,7,7,8,8], 8, 0) },
    // tau 0.2, phase 0, zeros 0.03: 2.748 bits, 0.47 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0, zeros 0.03", lengths: centred(22, &[8,8,8,7,7,5,5,4,2,2,2,4], 8, 5) },
    // tau 0.2, phase 0.33, zeros 0.03: 2.738 bits, 0.36 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.33, zeros 0.03", lengths: centred(21, &[8,8,8,8,7,5,5,3,3,2,2,3,8], 8, 5) },
    // tau 0.2, phase 0.67, zeros 0.03: 2.755 bits, 0.55 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.67, zeros 0.03", lengths: centred(22, &[8,8,8,7,7,5,5,3,2,2,2,6], 8, 6) },
    // tau 0.8, phase 0, zeros 0.03: 2.972 bits, 0.27 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0, zeros 0.03", lengths: centred(21, &[8,8,8,8,7,6,5,4,3,3,2,2,4,6,8], 8, 5) },
    // tau 0.8, phase 0.5, zeros 0.03: 2.957 bits, 0.35 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.5, zeros 0.03", lengths: centred(21, &[8,8,8,8,7,5,5,4,3,2,2,3,4,8], 8, 5) },
    // tau 1.5, phase 0, zeros 0.03: 3.318 bits, 0.39 % over unrestricted Huffman.
    Shape { about: "tau 1.5, phase 0, zeros 0.03", lengths: centred(21, &[8,8,8,8,7,6,5,4,3,3,2,3,3,4,6,8], 8, 5) },
    // tau 0.2, phase 0, zeros 0.12: 2.837 bits, 0.42 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0, zeros 0.12", lengths: centred(22, &[8,8,8,7,7,5,4,4,3,2,2,4], 8, 3) },
    // tau 0.2, phase 0.33, zeros 0.12: 2.826 bits, 0.67 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.33, zeros 0.12", lengths: centred(22, &[8,8,8,8,7,5,4,3,2,2,3,8], 8, 3) },
    // tau 0.2, phase 0.67, zeros 0.12: 2.841 bits, 0.48 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.67, zeros 0.12", lengths: centred(22, &[8,8,8,7,7,6,4,3,2,2,3,6], 8, 3) },
    // tau 0.8, phase 0, zeros 0.12: 3.064 bits, 0.51 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0, zeros 0.12", lengths: centred(22, &[8,8,8,8,7,6,4,4,3,2,2,4,6,8], 8, 3) },
    // tau 0.8, phase 0.5, zeros 0.12: 3.065 bits, 0.59 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.5, zeros 0.12", lengths: centred(21, &[8,8,8,8,7,5,5,4,3,2,2,3,5,8], 8, 4) },
    // tau 1.5, phase 0, zeros 0.12: 3.368 bits, 0.31 % over unrestricted Huffman.
    Shape { about: "tau 1.5, phase 0, zeros 0.12", lengths: centred(21, &[8,8,8,7,6,5,5,4,3,3,3,3,3,4,6,8,8], 8, 3) },
    // tau 0.2, phase 0, zeros 0.25: 2.808 bits, 0.67 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0, zeros 0.25", lengths: centred(23, &[8,8,8,7,7,5,5,3,2,2,5], 8, 2) },
    // tau 0.2, phase 0.33, zeros 0.25: 2.800 bits, 0.58 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.33, zeros 0.25", lengths: centred(22, &[8,8,8,8,7,5,4,3,3,2,3,8], 8, 2) },
    // tau 0.2, phase 0.67, zeros 0.25: 2.782 bits, 0.42 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.67, zeros 0.25", lengths: centred(22, &[8,8,8,7,7,6,4,3,3,2,3,6], 8, 2) },
    // tau 0.8, phase 0, zeros 0.25: 2.968 bits, 0.45 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0, zeros 0.25", lengths: centred(22, &[8,8,8,8,7,6,4,4,3,2,3,4,6,8], 8, 2) },
    // tau 0.8, phase 0.5, zeros 0.25: 2.978 bits, 0.52 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.5, zeros 0.25", lengths: centred(22, &[8,8,8,8,7,5,5,3,3,2,3,5,8], 8, 2) },
    // tau 1.5, phase 0, zeros 0.25: 3.217 bits, 0.31 % over unrestricted Huffman.
    Shape { about: "tau 1.5, phase 0, zeros 0.25", lengths: centred(21, &[8,8,8,8,7,6,5,4,3,3,3,3,4,5,6,8], 8, 2) },
    // tau 0.2, phase 0, zeros 0.6: 2.056 bits, 0.49 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0, zeros 0.6", lengths: centred(23, &[8,8,8,7,7,5,5,3,3,3,5], 8, 1) },
    // tau 0.2, phase 0.33, zeros 0.6: 2.056 bits, 0.42 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.33, zeros 0.6", lengths: centred(22, &[8,8,8,8,7,5,4,4,3,3,4,8], 8, 1) },
    // tau 0.2, phase 0.67, zeros 0.6: 2.055 bits, 0.59 % over unrestricted Huffman.
    Shape { about: "tau 0.2, phase 0.67, zeros 0.6", lengths: centred(23, &[8,8,8,7,6,6,4,3,3,3,7], 8, 1) },
    // tau 0.8, phase 0, zeros 0.6: 2.154 bits, 0.58 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0, zeros 0.6", lengths: centred(23, &[8,8,8,7,6,6,4,4,3,3,4,7], 8, 1) },
    // tau 0.8, phase 0.5, zeros 0.6: 2.145 bits, 0.39 % over unrestricted Huffman.
    Shape { about: "tau 0.8, phase 0.5, zeros 0.6", lengths: centred(22, &[8,8,8,8,7,5,5,4,3,3,4,5,8], 8, 1) },
    // tau 1.5, phase 0, zeros 0.6: 2.294 bits, 0.39 % over unrestricted Huffman.
    Shape { about: "tau 1.5, phase 0, zeros 0.6", lengths: centred(22, &[8,8,8,8,6,6,5,4,4,3,4,4,5,7,8], 8, 1) },
];

/// Shared block scales (e8m0): spread of scales, phase.
#[rustfmt::skip]
pub(super) const SCALES: &[Shape] = &[
    // tau 0, phase 0: 1.237 bits, 0.07 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0", lengths: centred(4, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,2,1,3,8,8,8,8,8], 8, 0) },
    // tau 0, phase 0.5: 1.155 bits, 0.08 % over unrestricted Huffman.
    Shape { about: "tau 0, phase 0.5", lengths: centred(4, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,3,1,2,8,8,8,8,8], 8, 0) },
    // tau 0.5, phase 0: 1.512 bits, 0.16 % over unrestricted Huffman.
    Shape { about: "tau 0.5, phase 0", lengths: centred(27, &[8,8,4,2,1,3,6,8,8], 5, 0) },
    // tau 0.5, phase 0.5: 1.448 bits, 0.18 % over unrestricted Huffman.
    Shape { about: "tau 0.5, phase 0.5", lengths: centred(29, &[5,3,1,2,4], 5, 0) },
    // tau 1.2, phase 0: 2.434 bits, 0.17 % over unrestricted Huffman.
    Shape { about: "tau 1.2, phase 0", lengths: centred(28, &[7,5,3,2,2,2,4,6,8], 8, 0) },
];

/// Magnitudes of e4m3: octaves between deviation and largest value, spread of scales.
#[rustfmt::skip]
pub(super) const E4M3: &[Shape] = &[
    // headroom 1, tau 0.1: 5.437 bits, 0.94 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 65, &[8,0,8,8,8,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,5,5,5,5,5,6,5,5,5,5,5,5,5,5,5,5,4,5,5,5,6,4], 7) },
    // headroom 1, tau 0.8: 5.416 bits, 0.97 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 65, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,3], 7) },
    // headroom 1.5, tau 0.1: 5.549 bits, 0.86 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 64, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,5,4,4,4,5,5,5,5,5,5,6,6,7,8,7], 7) },
    // headroom 1.5, tau 0.8: 5.666 bits, 0.83 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 64, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,7,7,7,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,4], 6) },
    // headroom 2, tau 0.1: 5.576 bits, 0.98 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 59, &[8,0,0,0,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,4,5,5,5,6,6,7,6,7,8,8], 6) },
    // headroom 2, tau 0.8: 5.776 bits, 0.89 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 57, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,5,5,5,5,5,6,6,6,6,6,6,7,7,7,8,6], 7) },
    // headroom 2.5, tau 0.1: 5.566 bits, 0.94 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 56, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,5,4,4,4,5,5,5,5,5,5,6,6,7,8,8,8,8], 7) },
    // headroom 2.5, tau 0.8: 5.827 bits, 0.83 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 56, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,7,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,7], 6) },
    // headroom 3, tau 0.1: 5.576 bits, 0.98 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 51, &[8,0,0,0,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,4,5,5,5,6,6,7,6,7,8,8], 6) },
    // headroom 3, tau 0.8: 5.841 bits, 1.05 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 49, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,6,6,6,6,7,7,7,8,8,8,8,8,8,8,8,0,8], 7) },
    // headroom 3.5, tau 0.8: 5.851 bits, 0.99 % over unrestricted Huffman.
    Shape { about: "headroom 3.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 48, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,8,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 4, tau 0.8: 5.843 bits, 1.04 % over unrestricted Huffman.
    Shape { about: "headroom 4, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 41, &[8,0,8,8,8,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,6,6,6,6,6,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 4.5, tau 0.8: 5.851 bits, 0.99 % over unrestricted Huffman.
    Shape { about: "headroom 4.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 40, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,8,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 5, tau 0.8: 5.843 bits, 1.06 % over unrestricted Huffman.
    Shape { about: "headroom 5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 33, &[8,0,8,8,8,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,6,6,6,6,6,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 5.5, tau 0.8: 5.851 bits, 1.01 % over unrestricted Huffman.
    Shape { about: "headroom 5.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 32, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,8,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 6, tau 0.8: 5.843 bits, 1.08 % over unrestricted Huffman.
    Shape { about: "headroom 6, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 25, &[8,0,8,8,8,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,6,6,6,6,6,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 6.5, tau 0.8: 5.851 bits, 1.05 % over unrestricted Huffman.
    Shape { about: "headroom 6.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 24, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,8,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 7, tau 0.8: 5.843 bits, 1.14 % over unrestricted Huffman.
    Shape { about: "headroom 7, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 17, &[8,0,8,8,8,0,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,5,6,6,5,5,5,5,5,5,5,6,5,5,5,5,6,6,6,6,6,6,6,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 7.5, tau 0.8: 5.851 bits, 1.14 % over unrestricted Huffman.
    Shape { about: "headroom 7.5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 16, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,8,8,7,6,7,6,6,7,7,7,6,6,6,5,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,5,5,6,6,6,7,7,7,7,7,8,8,8,8,8,8,8], 6) },
    // headroom 8, tau 0.8: 5.831 bits, 1.06 % over unrestricted Huffman.
    Shape { about: "headroom 8, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 1, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,5,5,5,5,6,6,6,5,5,5,5,5,5,6,6,5,5,5,5,6,6,6,6,6,6,6,7,7,8,8,8,8,8,8,8,8], 8) },
];

/// Magnitudes of e5m2: octaves between deviation and largest value, spread of scales.
#[rustfmt::skip]
pub(super) const E5M2: &[Shape] = &[
    // headroom 2, tau 0.1: 4.574 bits, 0.69 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 85, &[8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,4,4,4,4,4,4,4,4,5,5,7,8], 7) },
    // headroom 2, tau 0.8: 4.785 bits, 0.63 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 84, &[8,8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,6,6,6,6,6,5,5,5,5,4,4,4,4,4,4,4,4,4,5,5,5,5,6,6], 8) },
    // headroom 3, tau 0.1: 4.574 bits, 0.68 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.1", lengths: plain(7, CodeLimit::Bits8, 81, &[8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,4,4,4,4,4,4,4,4,5,5,7,8], 7) },
    // headroom 3, tau 0.8: 4.830 bits, 0.65 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 80, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8,8], 8) },
    // headroom 4, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 4, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 76, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 5, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 5, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 72, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 6, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 6, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 68, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 7, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 7, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 64, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 8, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 8, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 60, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 9, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 9, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 56, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
    // headroom 10, tau 0.8: 4.836 bits, 0.72 % over unrestricted Huffman.
    Shape { about: "headroom 10, tau 0.8", lengths: plain(7, CodeLimit::Bits8, 52, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,5,4,4,4,4,4,4,5,5,5,5,6,7,7,8,8], 7) },
];

/// Magnitudes of e3m2: octaves between deviation and largest value, spread of scales.
#[rustfmt::skip]
pub(super) const E3M2: &[Shape] = &[
    // headroom 0.5, tau 0.1: 4.112 bits, 0.26 % over unrestricted Huffman.
    Shape { about: "headroom 0.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,6,5,5,5,4,4,4,4,4,3,4,2], 0) },
    // headroom 0.5, tau 0.8: 4.105 bits, 0.03 % over unrestricted Huffman.
    Shape { about: "headroom 0.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,8,7,8,7,7,6,6,6,6,5,6,6,5,5,5,5,4,4,4,4,4,4,4,2], 0) },
    // headroom 1, tau 0.1: 4.395 bits, 0.04 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,8,7,8,7,7,6,6,6,6,5,5,5,5,4,4,4,4,3,4,4,4,4,4,4], 0) },
    // headroom 1, tau 0.8: 4.418 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,4,4,4,4,4,4,4,5,3], 0) },
    // headroom 1.5, tau 0.1: 4.473 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,7,6,7,7,6,6,6,6,5,5,5,5,4,4,4,4,3,3,4,4,4,5,6,7], 0) },
    // headroom 1.5, tau 0.8: 4.612 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[8,7,7,7,7,7,8,7,7,6,6,6,6,5,6,6,5,5,5,5,4,4,4,4,4,4,4,5,4,4,5,4], 0) },
    // headroom 2, tau 0.1: 4.479 bits, 0.11 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[8,7,7,7,7,7,8,7,7,6,6,6,6,5,5,5,5,4,4,4,4,3,4,4,4,4,4,5,6,7,8,8], 0) },
    // headroom 2, tau 0.8: 4.677 bits, -0.00 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[7,7,7,7,7,7,7,7,6,6,6,6,5,5,5,5,5,4,4,4,4,4,4,4,4,4,5,5,5,5,6,6], 0) },
    // headroom 2.5, tau 0.1: 4.454 bits, 0.14 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[7,7,7,7,7,7,7,7,6,6,6,6,5,5,5,5,4,4,4,4,3,3,4,4,4,5,6,7,8], 8) },
    // headroom 2.5, tau 0.8: 4.698 bits, -0.00 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[7,6,6,6,6,6,7,6,6,5,6,6,5,5,5,5,4,4,4,4,4,4,4,5,4,4,5,6,6,6,7,7], 0) },
    // headroom 3, tau 0.1: 4.431 bits, 0.18 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[7,6,6,6,6,6,7,6,6,5,5,5,5,4,4,4,4,3,4,4,4,4,4,5,6,7,8], 8) },
    // headroom 3, tau 0.8: 4.660 bits, 0.08 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[7,6,6,6,6,6,6,6,5,5,5,5,5,4,4,4,4,4,4,4,4,4,5,5,5,5,6,7,8,8,8,8], 0) },
];

/// Magnitudes of e2m3: octaves between deviation and largest value, spread of scales.
#[rustfmt::skip]
pub(super) const E2M3: &[Shape] = &[
    // headroom 0.5, tau 0.1: 4.718 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 0.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,4,4,4,4,4,5,5,3], 0) },
    // headroom 0.5, tau 0.8: 4.629 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 0.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[6,6,5,6,6,6,5,6,6,6,6,6,6,6,6,6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,2], 0) },
    // headroom 1, tau 0.1: 4.975 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,5,5,5,5,5,5,5,5,5,4,5,5,5,6,6,4], 0) },
    // headroom 1, tau 0.8: 4.891 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[6,5,5,5,5,5,5,5,5,5,5,6,5,6,5,6,5,5,5,5,5,5,5,5,5,5,5,5,5,6,6,3], 0) },
    // headroom 1.5, tau 0.1: 4.917 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[6,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,4,4,4,4,5,5,5,5,5,5,5,6,6,7,8,8], 0) },
    // headroom 1.5, tau 0.8: 4.962 bits, 0.00 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[6,4,4,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,6,5,5,5,6,6,6,6,4], 0) },
    // headroom 2, tau 0.1: 4.726 bits, 0.25 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[5,4,4,4,4,4,4,5,4,5,5,5,5,5,5,5,5,4,5,5,5,6,6,6,6,7,7,8,8,8], 8) },
    // headroom 2, tau 0.8: 4.828 bits, -0.00 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[5,4,4,4,4,4,4,4,5,5,5,5,5,5,5,6,5,5,5,5,5,6,6,6,6,6,6,7,7,7,7,6], 0) },
    // headroom 2.5, tau 0.1: 4.404 bits, 0.14 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[5,4,4,4,4,4,4,4,4,4,4,4,5,5,5,5,5,5,5,6,6,7,7,8,8,8], 8) },
    // headroom 2.5, tau 0.8: 4.579 bits, 0.01 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[4,4,4,4,4,4,4,4,4,5,5,5,5,5,5,5,5,5,5,6,6,6,6,7,6,7,7,8,8,8,8,7], 0) },
    // headroom 3, tau 0.1: 4.038 bits, 0.30 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.1", lengths: plain(5, CodeLimit::Bits8, 0, &[4,3,3,3,4,4,4,4,4,4,5,5,5,6,6,6,6,7,7,8,8,8], 8) },
    // headroom 3, tau 0.8: 4.230 bits, 0.26 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.8", lengths: plain(5, CodeLimit::Bits8, 0, &[4,3,3,3,4,4,4,4,5,5,5,5,5,6,6,6,6,6,6,7,7,7,8,8,8,8,8,8,8,8,8,8], 0) },
];

/// Bytes of two e2m1 values: octaves between deviation and largest value.
#[rustfmt::skip]
pub(super) const E2M1: &[Shape] = &[
    // headroom 0.75: 8.000 bits, 1.17 % over unrestricted Huffman.
    Shape { about: "headroom 0.75", lengths: plain(8, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8], 0) },
    // headroom 1.25: 8.000 bits, 1.30 % over unrestricted Huffman.
    Shape { about: "headroom 1.25", lengths: plain(8, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8], 0) },
    // headroom 1.75: 7.618 bits, 1.25 % over unrestricted Huffman.
    Shape { about: "headroom 1.75", lengths: plain(8, CodeLimit::Bits8, 0, &[8,8,8,8,8,8,8,0,8,8,8,8,8,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,8,7,8,8,0,8,7,7,8,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,8,8,8,8,8,8,0,8,8,8,8,8,8,8,0,8,8,8,8,8,8,0,0,8,8,8,8,8,8,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,8,8,8,8,8,8,8,0,8,8,8,8,8,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,8,7,8,8,0,8,7,7,8,7,8,8,0,8,7,7,7,7,8,8,0,8,7,7,7,7,8,8,0,8,8,8,8,8,8,8,0,8,8,8,8,8,8,8,0,8,8,8,8,8,8,0,0,8,8,8,8,8,8], 6) },
    // headroom 2.5: 6.719 bits, 1.22 % over unrestricted Huffman.
    Shape { about: "headroom 2.5", lengths: plain(8, CodeLimit::Bits8, 0, &[7,6,7,7,8,8,0,0,7,6,7,7,8,8,0,0,6,5,6,7,7,8,0,0,6,5,6,7,7,8,0,0,7,6,6,7,8,8,0,0,7,6,6,7,8,8,0,0,7,7,7,8,8,0,0,0,7,7,7,8,8,0,0,0,8,7,8,8,8,0,0,0,8,7,8,8,8,0,0,0,8,8,8,0,0,0,0,0,8,8,8,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,7,6,7,7,8,0,0,0,7,6,7,7,8,0,0,0,6,5,6,7,7,8,0,0,6,5,6,7,7,8,0,0,7,6,6,7,8,8,0,0,7,6,6,7,8,8,0,0,7,7,7,8,8,0,0,0,7,7,7,8,8,0,0,0,8,7,8,8,8,0,0,0,8,7,8,8,8,0,0,0,0,8,8,0,0,0,0,0,0,8,8], 6) },
    // headroom 3.5: 5.241 bits, 0.71 % over unrestricted Huffman.
    Shape { about: "headroom 3.5", lengths: plain(8, CodeLimit::Bits8, 0, &[5,4,6,8,0,0,0,0,5,5,6,8,0,0,0,0,5,4,6,8,0,0,0,0,5,4,6,8,0,0,0,0,6,6,8,0,0,0,0,0,6,6,8,0,0,0,0,0,8,8,0,0,0,0,0,0,8,8,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,5,5,6,8,0,0,0,0,5,5,6,8,0,0,0,0,5,4,6,8,0,0,0,0,5,4,6,8,0,0,0,0,6,6,8,0,0,0,0,0,6,6,8,0,0,0,0,0,8,8,0,0,0,0,0,0,8,8], 6) },
];

/// Signed 8-bit integers: octaves between deviation and 127, spread of scales.
#[rustfmt::skip]
pub(super) const I8: &[Shape] = &[
    // headroom 1.5, tau 0: 7.514 bits, 0.01 % over unrestricted Huffman.
    Shape { about: "headroom 1.5, tau 0", lengths: plain(8, CodeLimit::Bits12, 0, &[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,8,7,8,7,8,8,7,7,7,7,7,7,7,7,7,8,8,9,8,8,8,9,8,9,8,8,9,8,9,9,8,9,8,9,9,8,9,9,8,9,9,9,9,8,9,9,9,9,9,9,9,8,9,10,10,10,10,10,10,10,10,10,10,10,0,10,10,10,10,10,10,11,11,0,11,11,11,11,11,0,11,11,11,11,0,11,11,12,0,12,12,12,9,0,9,12,12,12,0,12,12,11,0,11,11,11,11,0,11,11,11,11,11,0,11,11,10,10,10,10,10,10,0,10,10,10,10,10,10,10,10,10,10,10,10,8,9,9,9,9,9,9,9,8,9,9,9,9,8,9,9,8,9,9,8,9,8,9,9,8,9,8,8,9,8,9,8,8,8,9,8,8,7,7,7,7,7,7,7,7,7,8,8,7,8,7,8,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7], 12) },
    // headroom 2, tau 0.2: 7.094 bits, 0.08 % over unrestricted Huffman.
    Shape { about: "headroom 2, tau 0.2", lengths: plain(8, CodeLimit::Bits12, 0, &[6,6,6,6,6,6,6,6,6,6,6,7,6,7,6,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,8,7,8,7,8,8,7,8,8,8,8,8,8,8,8,8,8,9,8,8,8,9,8,9,8,9,10,9,10,10,9,10,9,10,10,9,10,10,9,10,11,11,11,10,11,11,11,11,11,11,11,10,12,12,12,12,12,12,12,12,12,12,12,12,0,12,12,12,12,12,12,12,12,0,12,12,12,12,12,0,0,0,0,0,0,0,0,0,0,0,0,0,12,0,12,0,0,0,0,0,0,0,0,0,0,0,0,0,12,12,12,12,12,0,12,12,12,12,12,12,12,12,0,12,12,12,12,12,12,12,12,12,12,12,12,10,11,11,11,11,11,11,11,10,11,11,11,10,9,10,10,9,10,10,9,10,9,10,10,9,10,9,9,9,8,9,8,8,8,9,8,8,8,8,8,8,8,8,8,8,7,8,8,7,8,7,8,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,6,7,6,7,6,6,7,6,6,6,6,6,6,6], 10) },
    // headroom 2.5, tau 0.4: 6.659 bits, 0.09 % over unrestricted Huffman.
    Shape { about: "headroom 2.5, tau 0.4", lengths: plain(8, CodeLimit::Bits12, 0, &[6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,7,7,7,7,7,7,7,7,7,7,7,7,7,7,8,8,8,8,8,8,8,9,9,9,9,9,9,9,9,9,9,10,9,9,9,11,10,11,10,10,11,10,11,11,10,11,11,12,12,11,12,12,11,12,12,12,12,11,12,12,12,12,12,12,12,12,12,12,12,12,12,12,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,12,0,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,12,12,12,12,12,12,12,12,12,12,12,12,12,12,12,11,12,12,12,12,11,12,12,11,12,12,11,11,10,11,11,10,11,10,10,11,10,11,9,9,9,10,9,9,9,9,9,9,9,9,9,9,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6], 9) },
    // headroom 3, tau 0.6: 6.263 bits, 0.11 % over unrestricted Huffman.
    Shape { about: "headroom 3, tau 0.6", lengths: plain(8, CodeLimit::Bits12, 0, &[5,5,5,5,5,5,5,6,6,6,6,6,6,6,6,6,6,7,7,7,7,7,7,7,7,7,8,7,8,8,8,8,8,8,8,9,9,9,9,9,9,9,10,10,10,10,10,10,10,10,10,10,12,11,11,11,12,11,12,11,11,12,11,12,12,12,12,12,12,12,12,12,12,12,12,12,12,0,12,0,0,0,0,0,0,0,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,12,0,0,0,0,0,0,0,12,0,12,12,12,12,12,12,12,12,12,12,12,12,12,12,11,12,11,11,12,11,12,11,11,11,12,10,10,10,10,10,10,10,10,10,10,9,10,9,9,9,9,9,8,8,8,8,8,8,8,8,8,7,7,7,7,7,7,7,7,7,6,6,6,6,6,6,6,6,6,6,5,5,5,5,5,5], 8) },
    // headroom 4, tau 0.8: 5.371 bits, 0.08 % over unrestricted Huffman.
    Shape { about: "headroom 4, tau 0.8", lengths: plain(8, CodeLimit::Bits12, 0, &[4,4,4,4,5,5,5,5,6,6,6,6,6,7,7,7,7,8,8,8,8,8,8,9,9,9,9,9,10,10,10,10,10,10,10,11,11,11,11,12,12,11,12,12,12,12,12,12,12,12,12,12,0,12,12,12,0,12,0,12,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,12,12,0,12,0,12,12,12,0,12,12,12,12,12,12,12,12,12,12,11,12,12,11,11,11,11,10,10,10,10,10,10,10,9,9,9,9,9,9,8,8,8,8,8,7,7,7,7,6,6,6,6,6,5,5,5,5,4,4,4], 9) },
    // headroom 5, tau 0.8: 4.379 bits, 0.06 % over unrestricted Huffman.
    Shape { about: "headroom 5, tau 0.8", lengths: plain(8, CodeLimit::Bits12, 0, &[3,3,4,4,4,5,5,6,6,7,7,7,8,8,8,9,9,10,10,10,10,11,11,11,12,12,12,12,12,12,12,12,12,12,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,12,12,12,12,12,12,12,12,12,12,11,11,11,10,10,10,10,9,9,9,8,8,7,7,7,6,6,5,5,5,4,4,3], 9) },
];
