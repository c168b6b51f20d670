//! Philox 4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").

use rand_core::{SeedableRng, TryRng};
use std::convert::Infallible;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// The four words of one counter under a key: ten rounds.
#[inline(always)]
pub fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let a = MULTIPLIERS[0] as u64 * counter[0] as u64;
        let b = MULTIPLIERS[1] as u64 * counter[2] as u64;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// A generator whose n-th block of four words is a function of its seed and n: Philox 4x32-10.
///
/// It is a [`rand_core::Rng`], so everything of the `rand` crate takes it; and any other generator makes one:
///
/// ```
/// use rand::SeedableRng;
/// use warpsmith::random::Philox;
/// let mut ours = Philox::seed_from_u64(7);
/// let mut from_any = Philox::from_rng(&mut rand::rngs::SmallRng::seed_from_u64(7));
/// assert_ne!(rand::Rng::next_u64(&mut ours), rand::Rng::next_u64(&mut from_any));
/// ```
///
/// Its state is three numbers; a generator made from them goes on where the saved one stood.
///
/// ```
/// use warpsmith::random::Philox;
/// use warpsmith::{DType, Device, Tensor};
/// let mut rng = Philox::new(42);
/// let saved = rng.state();
/// let draw = |rng: &mut Philox| Tensor::normal(0.0, 1.0, [3], DType::F32, &Device::Cpu, rng)?.to_vec::<f32>();
/// let first = draw(&mut rng)?;
/// assert_eq!(first, draw(&mut Philox::from_state(saved))?);
/// assert_ne!(first, draw(&mut rng)?);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Philox {
    state: PhiloxState,
    /// The block that `state.used` counts in; meaningless where all four are used.
    words: [u32; 4],
}

/// Where a [`Philox`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhiloxState {
    /// The key.
    pub seed: u64,
    /// The next block of four words.
    pub block: u64,
    /// How many words (0 to 4) of the block before it are used.
    pub used: u8,
}

impl PhiloxState {
    /// The state as three numbers, for checkpoints.
    pub fn to_array(self) -> [u64; 3] {
        [self.seed, self.block, self.used as u64]
    }

    /// The state from three numbers; a count of used words beyond 4 means all.
    pub fn from_array([seed, block, used]: [u64; 3]) -> Self {
        PhiloxState { seed, block, used: used.min(4) as u8 }
    }
}

impl Philox {
    /// The generator with this seed, at its beginning.
    pub fn new(seed: u64) -> Self {
        Philox::from_state(PhiloxState { seed, block: 0, used: 4 })
    }

    /// The generator at a saved state.
    pub fn from_state(state: PhiloxState) -> Self {
        let mut rng = Philox { state, words: [0; 4] };
        rng.words = philox(rng.key(), counter(state.block.wrapping_sub(1)));
        rng
    }

    /// Where the generator stands.
    pub fn state(&self) -> PhiloxState {
        self.state
    }

    /// The key, as kernels take it.
    pub fn key(&self) -> [u32; 2] {
        [self.state.seed as u32, (self.state.seed >> 32) as u32]
    }

    /// Takes `count` whole blocks out of the sequence and returns the number of the first: a kernel computes them.
    /// What was left of a block that single draws had begun is skipped.
    pub fn reserve(&mut self, count: u64) -> u64 {
        let first = self.state.block;
        self.state.block = first.wrapping_add(count);
        self.state.used = 4;
        first
    }

    /// A generator with a seed drawn from this one: for a thread, a worker or a layer of its own.
    pub fn split(&mut self) -> Philox {
        Philox::new(self.word() as u64 | (self.word() as u64) << 32)
    }

    fn word(&mut self) -> u32 {
        if self.state.used >= 4 {
            self.words = philox(self.key(), counter(self.state.block));
            self.state.block = self.state.block.wrapping_add(1);
            self.state.used = 0;
        }
        let word = self.words[self.state.used as usize];
        self.state.used += 1;
        word
    }
}

fn counter(block: u64) -> [u32; 4] {
    [block as u32, (block >> 32) as u32, 0, 0]
}

impl TryRng for Philox {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word() as u64 | (self.word() as u64) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl SeedableRng for Philox {
    type Seed = [u8; 8];

    fn from_seed(seed: [u8; 8]) -> Self {
        Philox::new(u64::from_le_bytes(seed))
    }

    /// The number itself is the key.
    fn seed_from_u64(seed: u64) -> Self {
        Philox::new(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the authors' Random123 distribution.
    #[test]
    fn known_answers() {
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(key, counter), expected);
        }
    }
}
