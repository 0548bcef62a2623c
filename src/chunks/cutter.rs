//! Where content is cut into chunks: by FastCDC (Xia et al. 2020), anew behind every run of pages of
//! zeros, which are chunks by themselves.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;

use super::{MAX_ZEROS, PAGE, SIZES};
use crate::file::read_full;

/// What the content is cut into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A chunk that is not all zeros.
    Data(&'a [u8]),
    /// So many zeros.
    Zeros(u32),
}

/// Takes content and gives it back in pieces, in order; where they end depends on the content alone.
pub(crate) struct Cutter {
    /// Content whose pages are not all zeros and which is not cut yet; it began behind zeros, or
    /// where it was cut last.
    run: Vec<u8>,
    /// How much of it has been given back.
    used: usize,
    /// Zeros behind the run, or where there is none.
    zeros: u64,
}

impl Cutter {
    pub fn new() -> Self {
        Cutter { run: Vec::with_capacity(3 * SIZES[2]), used: 0, zeros: 0 }
    }

    /// Cuts all that a reader gives.
    ///
    /// # Errors
    /// What the reader and `each` give.
    pub fn cut(
        mut self,
        from: &mut dyn Read,
        mut each: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut block = vec![0; SIZES[2]];
        loop {
            let len = read_full(from, &mut block)?;
            for page in block[..len].chunks(PAGE) {
                self.page(page, &mut each)?;
            }
            if len < block.len() {
                self.end_run(&mut each)?;
                return self.end_zeros(&mut each);
            }
        }
    }

    fn page(
        &mut self,
        page: &[u8],
        each: &mut impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        static ZEROS: [u8; PAGE] = [0; PAGE];
        if page == &ZEROS[..page.len()] {
            self.end_run(each)?;
            self.zeros += page.len() as u64;
            return Ok(());
        }
        self.end_zeros(each)?;
        if self.run.len() + page.len() > self.run.capacity() {
            self.run.drain(..self.used);
            self.used = 0;
        }
        self.run.extend_from_slice(page);
        // A cut is where it is whatever comes later only if the largest chunk fits before that.
        while self.run.len() - self.used >= SIZES[2] {
            self.chunk(each)?;
        }
        Ok(())
    }

    fn chunk(&mut self, each: &mut impl FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        let rest = &self.run[self.used..];
        let [least, usual, most] = SIZES;
        let (_, len) = FastCDC::new(rest, least, usual, most).cut(0, rest.len());
        self.used += len;
        each(Piece::Data(&rest[..len]))
    }

    fn end_run(&mut self, each: &mut impl FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        while self.used < self.run.len() {
            self.chunk(each)?;
        }
        self.run.clear();
        self.used = 0;
        Ok(())
    }

    fn end_zeros(&mut self, each: &mut impl FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        while self.zeros > 0 {
            let len = u32::try_from(self.zeros).map_or(MAX_ZEROS, |zeros| zeros.min(MAX_ZEROS));
            self.zeros -= u64::from(len);
            each(Piece::Zeros(len))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sizes of the chunks, those of zeros as negative numbers.
    fn sizes(content: &[u8], slice: usize) -> Vec<i64> {
        struct Slices<'a>(&'a [u8], usize);
        impl Read for Slices<'_> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let len = buf.len().min(self.1);
                self.0.read(&mut buf[..len])
            }
        }
        let (mut sizes, mut again) = (Vec::new(), Vec::new());
        Cutter::new()
            .cut(&mut Slices(content, slice), |piece| {
                match piece {
                    Piece::Data(data) => {
                        again.extend_from_slice(data);
                        sizes.push(data.len() as i64);
                    }
                    Piece::Zeros(len) => {
                        again.resize(again.len() + len as usize, 0);
                        sizes.push(-i64::from(len));
                    }
                }
                Ok(())
            })
            .unwrap();
        assert!(again == content, "the pieces are not the content");
        sizes
    }

    /// Bytes that no one would call regular, the same each time.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    #[test]
    fn zeros_are_chunks_by_themselves_and_what_is_behind_them_begins_anew() {
        let data = noise(100_000, 1);
        let alone = sizes(&data, usize::MAX);
        let page = PAGE as i64;
        assert_eq!(sizes(&[], 1), [] as [i64; 0]);
        assert_eq!(sizes(&[0; 5], 1), [-5]);
        assert_eq!(sizes(&[0; PAGE], 1), [-page]);
        let zeros = vec![0; PAGE * 3];
        let before = [zeros.as_slice(), &data].concat();
        assert_eq!(sizes(&before, usize::MAX), [&[-3 * page], alone.as_slice()].concat());
        let mut huge = vec![0; 10 << 20];
        huge.push(1);
        assert_eq!(sizes(&huge, usize::MAX), [-4_194_304, -4_194_304, -2_097_152, 1]);
    }

    #[test]
    fn what_is_put_in_changes_the_chunks_around_it_alone() {
        let data = noise(4 << 20, 2);
        let moved = [&data[..2_000_000], &noise(12_288, 3), &data[2_000_000..]].concat();
        let (before, after) = (sizes(&data, usize::MAX), sizes(&moved, usize::MAX));
        let same = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        let first = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        assert!(first + same + 2 >= before.len(), "{before:?} and {after:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_chunks_do_not_depend_on_how_the_content_comes(
            parts in prop::collection::vec((any::<bool>(), 0..400_000_usize, any::<u64>()), 0..6),
            slice in prop_oneof![Just(4095_usize), Just(65_537), 1..300_000_usize],
        ) {
            let mut content = Vec::new();
            for (zeros, len, seed) in parts {
                content.extend(if zeros { vec![0; len] } else { noise(len, seed) });
            }
            let whole = sizes(&content, usize::MAX);
            prop_assert_eq!(&whole, &sizes(&content, slice));
            prop_assert!(whole.iter().all(|size| *size <= SIZES[2] as i64));
        }
    }
}
