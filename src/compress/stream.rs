//! Decoding what comes in order: of files that have no blocks, and of what is on its way.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream, TELL_UNSUPPORTED_CHECK};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::blocks::XZ_MEMORY;
use super::zstd::WINDOW_LOG_MAX;
use super::{Format, invalid};
use crate::Error;

/// The decoder of a format.
pub(super) enum Decoder<R: BufRead> {
    None(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Xz(Box<XzDecoder<R>>),
    Zstd(Box<ZstdDecoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// # Errors
    /// Where there is no memory for it.
    pub fn new(input: R, format: Format) -> io::Result<Self> {
        Ok(match format {
            Format::None => Decoder::None(input),
            Format::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(input))),
            Format::Xz => {
                // A check that liblzma does not know cannot be verified, so such content is
                // refused.
                let flags = CONCATENATED | TELL_UNSUPPORTED_CHECK;
                let stream = Stream::new_stream_decoder(XZ_MEMORY, flags)?;
                Decoder::Xz(Box::new(XzDecoder::new_stream(input, stream)))
            }
            Format::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(input)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Decoder::Zstd(Box::new(decoder))
            }
        })
    }

    /// What is decoded.
    fn input(&mut self) -> &mut R {
        match self {
            Decoder::None(input) => input,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Xz(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::None(input) => input.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Xz(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Content that comes compressed, decoded. It reads to its end without an error only where what it
/// comes from does too, and has nothing behind its end.
pub(crate) struct Unpacked<R: Read> {
    decoder: Decoder<BufReader<R>>,
    name: String,
    done: bool,
}

impl<R: Read> Unpacked<R> {
    /// Decodes what a reader gives; `name` says in errors what that is.
    ///
    /// # Errors
    /// Where there is no memory for a decoder.
    pub fn new(input: R, format: Format, name: String) -> io::Result<Self> {
        let input = BufReader::with_capacity(64 << 10, input);
        Ok(Unpacked { decoder: Decoder::new(input, format)?, name, done: false })
    }

    /// What is wrong with the content, and is no fault of whoever reads it.
    fn corrupt(&self, error: io::Error) -> io::Error {
        let of_decoder = error.raw_os_error().is_none()
            && !matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory);
        match error.downcast::<Error>() {
            Ok(own) => io::Error::other(own),
            Err(why) if of_decoder => invalid(format!("{} cannot be unpacked: {why}", self.name)),
            Err(other) => other,
        }
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.decoder.read(buffer).map_err(|e| self.corrupt(e))?;
        if read == 0 {
            if self.decoder.input().read(&mut [0])? > 0 {
                return Err(invalid(format!("{} has something behind its end", self.name)));
            }
            self.done = true;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::compress::{Settings, Writer};

    const FORMATS: [Format; 3] = [Format::Gzip, Format::Xz, Format::Zstd];

    fn packed(format: Format, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &Settings::new(format)).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap();
        bytes
    }

    fn unpack(format: Format, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Unpacked::new(bytes, format, "it".into())?.read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        for format in FORMATS {
            for content in [&content[..], b"a", b""] {
                assert!(unpack(format, &packed(format, content)).unwrap() == content);
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_longer_is_refused() {
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n / 7 * (n % 999)) as u8).collect();
        for format in FORMATS {
            let good = packed(format, &content);
            for len in [1, good.len() / 2, good.len() - 1] {
                let error = unpack(format, &good[..len]).unwrap_err();
                assert!(error.to_string().contains("it cannot be unpacked"), "{format:?}, {len}");
            }
            let longer = [&good[..], b"more"].concat();
            assert!(unpack(format, &longer).is_err(), "{format:?}");
        }
    }
}
