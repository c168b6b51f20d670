//! What callbacks write: logs in three formats, read by decoders of their own, and pictures.

#[path = "trainer/task.rs"]
mod task;

use std::collections::BTreeMap;
use std::path::Path;
use task::{Folder, Task};
use warpsmith::optim::Clip;
use warpsmith::train::{
    Checkpoints, Curve, Curves, End, Every, History, MetricLog, Samples, Trainer, draw_curves, smoothed,
};

/// (step, figure) and the value.
type Points = BTreeMap<(u64, String), f64>;

fn logged<'a>(task: &'a Task, folder: &Path, history: &History) -> Trainer<'a> {
    task.trainer()
        .clip(Clip::Norm(0.5))
        .evaluate(Every::Steps(3), |_| Ok([("an \"error\", of the test", task.error()?)].into()))
        .callback(history.clone())
        .callback(MetricLog::csv(folder.join("new/log.csv")))
        .callback(MetricLog::json_lines(folder.join("log.jsonl")))
        .callback(MetricLog::tensorboard(folder.join("events")))
        .callback(Curves::new(folder.join("curves.svg")).and(folder.join("curves.png")))
        .callback(Checkpoints::new(folder).every(Every::Steps(2)))
}

fn points_of(history: &History) -> Points {
    let mut out = Points::new();
    for name in history.names() {
        out.extend(history.get(&name).into_iter().map(|(step, value)| ((step as u64, name.clone()), value)));
    }
    out
}

fn csv(folder: &Path) -> Points {
    let text = std::fs::read_to_string(folder.join("new/log.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("step,epoch,figure,value"));
    let row = |line: &str| {
        let (step, rest) = line.split_once(',').unwrap();
        let (epoch, rest) = rest.split_once(',').unwrap();
        let (name, value) = rest.rsplit_once(',').unwrap();
        let name = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name).replace("\"\"", "\"");
        let step: u64 = step.parse().unwrap();
        assert_eq!(epoch.parse::<u64>().unwrap(), (step - 1) / 5);
        ((step, name), value.parse().unwrap())
    };
    lines.map(row).collect()
}

fn json(folder: &Path) -> Points {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let mut out = Points::new();
    for line in text.lines() {
        let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let step = object["step"].as_u64().unwrap();
        for (name, value) in object.into_iter().filter(|(name, _)| name != "step" && name != "epoch") {
            assert_eq!(out.insert((step, name), value.as_f64().unwrap()), None);
        }
    }
    out
}

/// CRC-32C by long division, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i) & 1)) {
        let out = (remainder & 1) ^ bit;
        remainder >>= 1;
        if out == 1 {
            // The polynomial 0x1EDC6F41, reversed.
            remainder ^= 0x1edc_6f41u32.reverse_bits();
        }
    }
    remainder ^ u32::MAX
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message in protocol buffers: number, and value as a number or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut out = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        out.push(match key & 7 {
            0 => (key >> 3, varint(&mut bytes), &[][..]),
            1 => (key >> 3, 0, take(&mut bytes, 8)),
            2 => {
                let length = varint(&mut bytes) as usize;
                (key >> 3, 0, take(&mut bytes, length))
            }
            5 => (key >> 3, 0, take(&mut bytes, 4)),
            wire => panic!("wire type {wire}"),
        });
    }
    out
}

fn tensorboard(folder: &Path) -> Points {
    let file = folder.join("events/events.out.tfevents.warpsmith");
    let bytes = std::fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let mut out = Points::new();
    let (mut records, mut time) = (0, 0.0);
    while !rest.is_empty() {
        let checked = |bytes: &[u8], check: &[u8]| {
            let crc = crc32c(bytes);
            let masked = crc.rotate_left(17).wrapping_add(0xa282_ead8);
            assert_eq!(masked.to_le_bytes(), check);
        };
        let length = take(&mut rest, 8);
        checked(length, take(&mut rest, 4));
        let event = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        checked(event, take(&mut rest, 4));
        let mut step = 0;
        for (number, value, bytes) in fields(event) {
            match number {
                1 => {
                    let now = f64::from_le_bytes(bytes.try_into().unwrap());
                    assert!(now >= time && now > 1.7e9, "{now}");
                    time = now;
                }
                2 => step = value,
                3 => assert!(records == 0 && bytes == b"brain.Event:2"),
                5 => {
                    for (number, _, value) in fields(bytes) {
                        let [(1, _, tag), (2, _, number_of_value)] = fields(value)[..] else { panic!("{number}") };
                        let value = f32::from_le_bytes(number_of_value.try_into().unwrap());
                        let key = (step, String::from_utf8(tag.to_vec()).unwrap());
                        assert_eq!(out.insert(key, f64::from(value)), None);
                    }
                }
                other => panic!("field {other}"),
            }
        }
        records += 1;
    }
    out
}

#[test]
fn logs_tell_of_each_step_once_also_where_a_run_is_taken_up() {
    // Of one run that went through, and of one that stopped after step 5, whose last checkpoint is that of step 4 where
    // it did not end well.
    for stop in [None, Some(5)] {
        let folder = Folder::new(&format!("logs-{}", stop.unwrap_or(0)));
        let (task, history) = (Task::new(0.3), History::new());
        if let Some(stop) = stop {
            let first = Task::new(0.3);
            let mut trainer = logged(&first, folder.path(), &History::new()).stop_after(Some(stop));
            assert_eq!(trainer.fit(&first.source(5), 2).unwrap().end, End::StepLimit);
            drop(trainer);
            // As if killed right after.
            let earlier = folder.path().join("earlier.safetensors");
            let second = Task::new(0.3);
            let mut trainer = logged(&second, folder.path(), &History::new()).stop_after(Some(4));
            trainer.fit(&second.source(5), 2).unwrap();
            drop(trainer);
            std::fs::rename(Checkpoints::last_in(folder.path()), &earlier).unwrap();
            let third = Task::new(0.3);
            logged(&third, folder.path(), &History::new()).stop_after(Some(7)).fit(&third.source(5), 2).unwrap();
            let mut trainer = logged(&task, folder.path(), &history);
            trainer.resume(earlier).unwrap();
            trainer.fit(&task.source(5), 2).unwrap();
        } else {
            logged(&task, folder.path(), &history).fit(&task.source(5), 2).unwrap();
        }
        let expected = points_of(&history);
        // Ten steps of loss, rate, norm and share; evaluations after 3, 6, 9 and 10.
        assert_eq!(expected.len(), 44);
        assert_eq!(csv(folder.path()), expected);
        let lines = json(folder.path());
        assert!(lines.keys().eq(expected.keys()));
        for (found, expected) in lines.values().zip(expected.values()) {
            // serde_json's numbers are off by a bit at times.
            assert!((found - expected).abs() <= 1e-15 * expected.abs(), "{found} {expected}");
        }
        let narrow: Points = expected.iter().map(|(key, &value)| (key.clone(), f64::from(value as f32))).collect();
        assert_eq!(tensorboard(folder.path()), narrow);
        for picture in ["curves.svg", "curves.png"] {
            assert!(folder.path().join(picture).is_file());
        }
        let svg = std::fs::read_to_string(folder.path().join("curves.svg")).unwrap();
        for word in ["loss", "learning rate", "gradient norm", "share", "of the test"] {
            assert!(svg.contains(word), "{word}");
        }
    }
}

#[test]
fn a_new_run_begins_its_logs_anew_and_may_skip_steps() {
    let folder = Folder::new("anew");
    let path = folder.path().join("log.csv");
    std::fs::write(&path, "of another run\n").unwrap();
    let task = Task::new(0.0);
    task.trainer().callback(MetricLog::csv(&path).every(4)).fit(&task.source(5), 2).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let steps: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(steps, ["4", "4", "4", "8", "8", "8"], "{text}");
    let nowhere = folder.path().join("log.csv/log.csv");
    let error = task.trainer().callback(MetricLog::csv(nowhere)).fit(&task.source(5), 2).unwrap_err().to_string();
    assert!(error.contains("log.csv/log.csv"), "{error}");
}

#[test]
fn samples_are_shown_where_they_are_due() {
    let shown = std::sync::Mutex::new(vec![]);
    let task = Task::new(0.0);
    let sample = Samples::new(Every::Steps(2), |run| {
        shown.lock().unwrap().push(run.place().step);
        Ok(format!("sample {}", run.place().step))
    });
    task.trainer().callback(sample).fit(&task.source(5), 1).unwrap();
    assert_eq!(*shown.lock().unwrap(), [2, 4, 5]);
}

/// Width, height and pixels of a PNG of eight bits a channel without filters: chunks are checked, the stream of zlib is
/// inflated by a crate of its own.
fn png(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    let (mut chunks, mut data) = (vec![], vec![]);
    let mut extent = (0, 0);
    while !rest.is_empty() {
        let length = u32::from_be_bytes(take(&mut rest, 4).try_into().unwrap()) as usize;
        let kind = take(&mut rest, 4);
        let body = take(&mut rest, length);
        take(&mut rest, 4);
        match kind {
            b"IHDR" => {
                let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap()) as usize;
                extent = (number(0), number(4));
                assert_eq!(body[8..], [8, 2, 0, 0, 0]);
            }
            b"IDAT" => data.extend_from_slice(body),
            _ => {}
        }
        chunks.push(String::from_utf8(kind.to_vec()).unwrap());
    }
    assert_eq!(chunks, ["IHDR", "IDAT", "IEND"]);
    let rows = miniz_oxide::inflate::decompress_to_vec_zlib(&data).unwrap();
    let (width, height) = extent;
    assert_eq!(rows.len(), height * (1 + 3 * width));
    let pixels = rows.chunks(1 + 3 * width).flat_map(|row| {
        assert_eq!(row[0], 0);
        row[1..].to_vec()
    });
    (width, height, pixels.collect())
}

#[test]
fn a_png_shows_its_curves_and_letters() {
    let folder = Folder::new("png");
    let path = folder.path().join("curves.PNG");
    let values: Vec<f64> = (0..200).map(|i| 1.0 / f64::from(i + 1)).collect();
    let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, &v)| (i as f64, v)).collect();
    let smooth: Vec<(f64, f64)> = points.iter().map(|p| p.0).zip(smoothed(&values, 0.9).unwrap()).collect();
    let panel = |title: &'static str| {
        (title, "step", vec![Curve::pale("each", points.clone()), Curve::new("smooth", smooth.clone())])
    };
    draw_curves(&path, &[panel("loss"), panel("")]).unwrap();
    let (width, height, pixels) = png(&std::fs::read(&path).unwrap());
    assert_eq!((width, height), (900, 640));
    let count = |from: usize, to: usize, colour: [u8; 3]| {
        pixels[3 * width * from..3 * width * to].chunks(3).filter(|p| **p == colour).count()
    };
    assert!(count(0, height, [255; 3]) > width * height / 2, "mostly white");
    // The second curve's colour, in both halves, and black letters.
    let curve = |from, to| count(from, to, [214, 90, 20]);
    assert!(curve(0, 320) > 300 && curve(320, 640) > 300, "{} {}", curve(0, 320), curve(320, 640));
    // The title's letters are above the curves, and only the upper panel has one.
    let letters = |from| count(from, from + 36, [0; 3]);
    assert!(letters(0) > letters(320) + 100, "{} {}", letters(0), letters(320));
    draw_curves(folder.path().join("none.png"), &[]).unwrap();
}
