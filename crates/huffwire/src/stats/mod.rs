//! Statistics of symbols: histograms, PMFs, the counts of a plane, the sample of a block.

mod counts;
mod noise;
mod pmf;
mod sample;

pub(crate) use counts::Counts;
pub(crate) use noise::is_noise;
pub use pmf::{Histogram, Pmf, saving_percent};
pub(crate) use sample::{SampleSize, draw_sample};
