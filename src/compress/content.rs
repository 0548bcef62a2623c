//! What a stretch of content is, found out cheaply: zeros, compressed already, machine code, or
//! anything else.

/// The unit in which content is looked at.
pub(super) const SEGMENT: usize = 64 << 10;

/// What a segment is to the cutter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Zeros only.
    Zero,
    /// Compressed or encrypted already.
    Dense,
    /// Anything else.
    Mixed,
}

/// The branch filter that makes a block's machine code smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Branches {
    /// The block is not mostly code, or the filter would not help it.
    None,
    /// 32- and 64-bit x86.
    X86,
    /// AArch64.
    Arm64,
}

/// Whether there is nothing but zeros.
pub(super) fn is_zero(data: &[u8]) -> bool {
    // Comparing the data with itself, shifted, is a memcmp, which the C library does at the speed
    // of the memory.
    data.first().is_none_or(|&first| first == 0 && data[1..] == data[..data.len() - 1])
}

/// What a segment is.
pub(super) fn classify(segment: &[u8]) -> Content {
    if is_zero(segment) {
        Content::Zero
    } else if is_dense(segment) {
        Content::Dense
    } else {
        Content::Mixed
    }
}

/// A quarter of the segment is looked at first: only where its bytes are as evenly spread as those
/// of compressed content, a quick compressor is asked.
fn is_dense(segment: &[u8]) -> bool {
    const STRETCH: usize = 1 << 10;
    let mut counts = [0u32; 256];
    let mut total = 0;
    for stretch in segment.chunks(STRETCH).step_by(4) {
        for &byte in stretch {
            counts[usize::from(byte)] += 1;
        }
        total += stretch.len();
    }
    // For evenly spread bytes, the sum of the squared counts is total²/256 and a little noise; text
    // has ten times that.
    let squares: u64 = counts.iter().map(|&count| u64::from(count) * u64::from(count)).sum();
    let even = (total * total / 256) as u64;
    if squares > even + even / 5 {
        return false;
    }
    // What a fast level of zstd cannot make 2 % smaller, xz makes hardly smaller either.
    zstd::bulk::compress(segment, 1)
        .is_ok_and(|small| small.len() > segment.len() - segment.len() / 50)
}

/// The filter that suits a block: a call's target is named by its distance, which differs at each
/// place the call is made from; with absolute addresses in their stead, the same target is the same
/// bytes. So that filter is chosen whose addresses repeat more often than the distances do (in
/// object files and kernel modules, the distances are filled in later and are all the same).
pub(super) fn branches(block: &[u8]) -> Branches {
    let mut x86 = Repeats::default();
    let mut arm64 = Repeats::default();
    for (at, word) in block.windows(5).enumerate() {
        if word[0] & 0xfe == 0xe8 && (word[4] == 0 || word[4] == 0xff) {
            let distance = u32::from_le_bytes([word[1], word[2], word[3], word[4]]);
            x86.count(distance, distance.wrapping_add(at as u32 + 5));
        }
    }
    for (at, word) in block.chunks_exact(4).enumerate() {
        if word[3] & 0xfc == 0x94 {
            let distance = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & 0x03ff_ffff;
            arm64.count(distance, distance.wrapping_add(at as u32) & 0x03ff_ffff);
        }
    }
    // Less than a call in 4 KiB is no code; and a filter must be worth its place.
    let least = (block.len() / 4096) as i64;
    match (x86.gain(), arm64.gain()) {
        (x86, arm64) if x86 >= arm64 && x86 > least => Branches::X86,
        (_, arm64) if arm64 > least => Branches::Arm64,
        _ => Branches::None,
    }
}

/// How often distances and addresses come again soon after.
struct Repeats {
    distances: Vec<u32>,
    addresses: Vec<u32>,
    gain: i64,
}

impl Default for Repeats {
    fn default() -> Self {
        let empty = vec![u32::MAX; 1 << Self::BITS];
        Repeats { distances: empty.clone(), addresses: empty, gain: 0 }
    }
}

impl Repeats {
    const BITS: u32 = 12;

    fn count(&mut self, distance: u32, address: u32) {
        let slot = |value: u32| (value.wrapping_mul(0x9e37_79b1) >> (32 - Self::BITS)) as usize;
        let again = |table: &mut Vec<u32>, value| {
            i64::from(std::mem::replace(&mut table[slot(value)], value) == value)
        };
        self.gain += again(&mut self.addresses, address) - again(&mut self.distances, distance);
    }

    fn gain(&self) -> i64 {
        self.gain
    }
}
