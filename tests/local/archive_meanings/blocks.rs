//! The blocks of a compressed stream, and the table that says where they are.

use std::io::Write;

use super::{END, File, file, images, one_meaning};
use crate::common::Scratch;
use crate::common::hostile::compressed;
use osimage::compress::Format;

/// A stream of several blocks: the tar file of one image, and between its parts members that make
/// it another one.
fn parts() -> Vec<Vec<u8>> {
    let (own, other) = images();
    let tar = |members: &[File]| -> Vec<u8> {
        members.iter().flat_map(|(name, content)| file(name, content)).collect()
    };
    vec![tar(&own[..2]), tar(&other), tar(&own[2..]), END.to_vec()]
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A stream of xz (file format 1.2.1) with a block for each part, whose header says these sizes or
/// none, and an index that says what it likes.
fn xz(parts: &[Vec<u8>], in_header: bool, say: impl Fn(usize, u64) -> Option<u64>) -> Vec<u8> {
    let header = [&b"\xfd7zXZ\0\0\x01"[..], &crc32fast::hash(&[0, 1]).to_le_bytes()].concat();
    let (mut out, mut records) = (header, Vec::new());
    for (n, part) in parts.iter().enumerate() {
        let mut data = Vec::new();
        for (at, chunk) in part.chunks(1 << 16).enumerate() {
            data.push(if at == 0 { 1 } else { 2 });
            data.extend_from_slice(&((chunk.len() - 1) as u16).to_be_bytes());
            data.extend_from_slice(chunk);
        }
        data.push(0);
        let said = say(n, part.len() as u64);
        let mut header = vec![0, if in_header { 0xc0 } else { 0 }];
        if in_header {
            number(&mut header, data.len() as u64);
            number(&mut header, said.unwrap_or(part.len() as u64));
        }
        header.extend_from_slice(&[0x21, 1, 22]);
        header.resize(header.len().next_multiple_of(4), 0);
        header[0] = (header.len() / 4) as u8;
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let size = header.len() + data.len() + 4;
        data.resize(data.len().next_multiple_of(4), 0);
        out.extend([&header[..], &data, &crc32fast::hash(part).to_le_bytes()].concat());
        if let Some(said) = said {
            records.push((size as u64, said));
        }
    }
    let mut index = vec![0];
    number(&mut index, records.len() as u64);
    records.iter().for_each(|(size, len)| {
        number(&mut index, *size);
        number(&mut index, *len);
    });
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
    let mut footer = (index.len() as u32 / 4 - 1).to_le_bytes().to_vec();
    footer.extend_from_slice(&[0, 1]);
    let crc = crc32fast::hash(&footer).to_le_bytes();
    out.extend([&index[..], &crc, &footer, b"YZ"].concat());
    out
}

/// A frame of zstd, with the size of its content or without.
fn frame(content: &[u8], sized: bool) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(sized).unwrap();
    if sized {
        encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
    }
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn skippable(content: &[u8]) -> Vec<u8> {
    [&0x184d_2a50_u32.to_le_bytes()[..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// The table of the seekable format.
fn seek_table(entries: &[(usize, usize)]) -> Vec<u8> {
    let mut out = 0x184d_2a5e_u32.to_le_bytes().to_vec();
    out.extend_from_slice(&((entries.len() * 8 + 9) as u32).to_le_bytes());
    for (size, len) in entries {
        out.extend_from_slice(&(*size as u32).to_le_bytes());
        out.extend_from_slice(&(*len as u32).to_le_bytes());
    }
    out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    out.push(0);
    out.extend_from_slice(&0x8f92_eab1_u32.to_le_bytes());
    out
}

#[test]
fn a_table_that_differs_from_the_stream_is_refused_or_read_as_the_stream_is() {
    let scratch = Scratch::new();
    let parts = parts();
    let honest: Vec<Vec<u8>> = [0, 2, 3].map(|n| parts[n].clone()).to_vec();
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for in_header in [true, false] {
        let sound = xz(&honest, in_header, |_, len| Some(len));
        assert!(one_meaning(&scratch, "sound xz", &sound), "sizes in headers: {in_header}");
        let streams = [
            xz(&honest[..1], in_header, |_, len| Some(len)),
            xz(&honest[1..], in_header, |_, len| Some(len)),
        ];
        assert!(one_meaning(&scratch, "two streams", &streams.concat()));
        assert!(one_meaning(&scratch, "padding", &[&sound[..], &[0; 8]].concat()));
        for n in 0..parts.len() {
            for said in [0, 1, 512, 1 << 20] {
                let lie = |at: usize, len: u64| Some(if at == n { said } else { len });
                cases.push((format!("block {n} of {said} bytes"), xz(&parts, in_header, lie)));
            }
            let hidden = xz(&parts, in_header, |at, len| (at != n).then_some(len));
            cases.push((format!("block {n} in no index"), hidden));
        }
        // The middle part in a stream of its own, whose index speaks of nothing.
        for said in [Some(0), None] {
            let middle = xz(&parts[1..2], in_header, |_, _| said);
            let around =
                [&parts[..1], &parts[2..]].map(|parts| xz(parts, in_header, |_, len| Some(len)));
            cases.push((
                format!("a stream of {said:?}"),
                [&around[0][..], &middle, &around[1]].concat(),
            ));
        }
        cases.push(("junk behind".into(), [&sound[..], b"junk"].concat()));
        cases.push(("odd padding".into(), [&sound[..], &[0; 6]].concat()));
        let mut swapped = parts.clone();
        swapped.swap(0, 1);
        let sizes: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        cases.push(("sizes of others".into(), xz(&swapped, in_header, |at, _| Some(sizes[at]))));
    }
    for sized in [true, false] {
        let frames: Vec<_> = honest.iter().map(|part| frame(part, sized)).collect();
        let table = |frames: &[Vec<u8>], lens: &[usize]| {
            let entries: Vec<_> = frames.iter().map(Vec::len).zip(lens.iter().copied()).collect();
            [frames.concat(), seek_table(&entries)].concat()
        };
        let lens = |parts: &[Vec<u8>]| parts.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(one_meaning(&scratch, "sound zstd", &table(&frames, &lens(&honest))), "{sized}");
        assert!(one_meaning(&scratch, "frames alone", &frames.concat()));
        let together =
            [frames.concat(), seek_table(&[(frames.concat().len(), honest.concat().len())])]
                .concat();
        assert!(one_meaning(&scratch, "all in one entry", &together));
        let with_skippable =
            [frames[0].clone(), skippable(b"x"), frames[1].clone(), frames[2].clone()];
        let four = [honest[0].len(), 0, honest[1].len(), honest[2].len()];
        assert!(one_meaning(&scratch, "a skippable frame", &table(&with_skippable, &four)));

        let all: Vec<_> = parts.iter().map(|part| frame(part, sized)).collect();
        for n in 0..parts.len() {
            for said in [0, 1, 512, 1 << 20] {
                let mut lens = lens(&parts);
                lens[n] = said;
                cases.push((format!("frame {n} of {said} bytes"), table(&all, &lens)));
            }
        }
        cases.push((
            "a frame that is skippable and has bytes".into(),
            table(&with_skippable, &[512; 4]),
        ));
        // What looks like the rest of the file, inside of a frame that stores it as it is.
        let rest = [frame(&parts[2], sized), frame(&parts[3], sized)];
        let inner = rest.concat();
        let mut outer = zstd::bulk::Compressor::new(1).unwrap().compress(&[]).unwrap();
        outer.truncate(4);
        // A single segment with a size of two bytes; one raw block.
        let len = (inner.len() + parts[1].len()) as u16;
        outer.push(0x60);
        outer.extend_from_slice(&(len - 256).to_le_bytes());
        outer.extend_from_slice(&(u32::from(len) << 3 | 1).to_le_bytes()[..3]);
        outer.extend_from_slice(&parts[1]);
        let stub = outer.len();
        outer.extend_from_slice(&inner);
        for said in [0, parts[1].len()] {
            let entries = [
                (all[0].len(), parts[0].len()),
                (stub, said),
                (rest[0].len(), parts[2].len()),
                (rest[1].len(), parts[3].len()),
            ];
            let file = [&all[0][..], &outer, &seek_table(&entries)].concat();
            cases.push((format!("into a frame, {said}"), file));
        }
        // A table within the last frame.
        cases.push(("a table in a frame".into(), {
            let table = seek_table(&[(all[0].len(), parts[0].len())]);
            [&all[0][..], &frame(&table, sized)].concat()
        }));
        cases.push((
            "two tables".into(),
            [table(&all, &lens(&parts)), table(&frames, &lens(&honest))].concat(),
        ));
        cases.push(("a table that leaves out".into(), {
            let entries: Vec<_> = [0, 2, 3].map(|n: usize| (all[n].len(), parts[n].len())).to_vec();
            [all.concat(), seek_table(&entries)].concat()
        }));
        cases.push(("junk behind".into(), [&frames.concat()[..], b"junk"].concat()));
        cases.push(("zeros behind".into(), [&frames.concat()[..], &[0; 8]].concat()));
    }
    let gzip = |parts: &[Vec<u8>]| {
        parts.iter().flat_map(|part| compressed(part, Format::Gzip)).collect::<Vec<_>>()
    };
    assert!(one_meaning(&scratch, "sound gzip", &gzip(&honest)));
    cases.push(("gzip with junk behind".into(), [&gzip(&honest)[..], b"junk"].concat()));
    cases.push(("gzip with zeros behind".into(), [&gzip(&honest)[..], &[0; 512]].concat()));
    for (what, case) in cases {
        one_meaning(&scratch, &what, &case);
    }
}
