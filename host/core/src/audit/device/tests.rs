//! A device over a sink that does what the test says.

use std::{io, sync::Mutex, time::Instant};

use super::*;
use crate::audit::sink::Started;

/// A sink that fails, and hangs, by the word of the test.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Says>>);

#[derive(Default)]
struct Says {
    opens: bool,
    writes: bool,
    hangs: Option<std::sync::mpsc::Receiver<()>>,
    written: Vec<u8>,
}

impl Told {
    fn says(&self) -> std::sync::MutexGuard<'_, Says> {
        self.0.lock().unwrap()
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.says().written.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Sink for Told {
    fn ready(&mut self) -> io::Result<Option<Started>> {
        let is_up = self.says().opens;
        if is_up { Ok(None) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(hangs) = self.says().hangs.take() {
            let _released = hangs.recv();
        }
        if !self.says().writes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.says().written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn failed(&mut self, _error: &io::Error) -> bool {
        true
    }

    fn close(&mut self) {}
}

fn device(sink: &Told) -> Device {
    let target = Target::Unix("/nowhere".into());
    Device::start_over(
        &Spec { name: "told".to_owned(), description: String::new(), target },
        Box::new(sink.clone()),
    )
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(5));
    }
}

fn write(device: &Device) -> Result<(), String> {
    let (told, mut answer) = mpsc::channel(1);
    device.take("{\"time\":\"\",\"n\":1}".into(), told);
    answer.blocking_recv().unwrap()
}

#[test]
fn device_that_cannot_be_opened_is_down_before_the_first_line_and_up_again_without_one() {
    let sink = Told::default();
    let device = device(&sink);
    device.open();
    until(|| !device.is_up());
    sink.says().opens = true;
    until(|| device.is_up());
    assert!(sink.lines().is_empty(), "to be open is enough");
    assert_eq!(device.figures().failures, 0, "no line was missed");
}

#[test]
fn device_that_could_not_write_is_up_again_once_a_line_of_its_own_is_written() {
    let sink = Told::default();
    sink.says().opens = true;
    let device = device(&sink);
    assert!(write(&device).is_err());
    assert!(!device.is_up());
    sink.says().writes = true;
    until(|| device.is_up());
    let lines = sink.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["type"], &lines[0]["chain"]["missed"]), (&"resumed".into(), &1.into()));
    assert!(write(&device).is_ok());
    assert_eq!(sink.lines().len(), 2);
}

#[test]
fn device_that_hangs_in_a_write_is_down_though_nothing_has_failed() {
    let sink = Told::default();
    let (release, hangs) = std::sync::mpsc::channel();
    {
        let mut says = sink.says();
        (says.opens, says.writes, says.hangs) = (true, true, Some(hangs));
    }
    let device = device(&sink);
    assert!(device.is_up());
    let (told, mut answer) = mpsc::channel(1);
    device.take("{\"time\":\"\"}".into(), told);
    until(|| !device.is_up());
    release.send(()).unwrap();
    until(|| device.is_up());
    assert_eq!(answer.blocking_recv(), Some(Ok(())));
}
