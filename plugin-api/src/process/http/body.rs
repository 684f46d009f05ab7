//! The second part of a request: its body.

use std::time::Instant;

use super::super::wire::{Execute, Form, MAX_BODY, Source, WireError};
use super::head::{Head, Length};
use super::{BODY_TIME, Incoming, PIECE, Stop};
use crate::spare;

/// The most digits of a chunk's size: enough for what may come, and too few to overflow.
const SIZE_DIGITS: usize = 7;

/// Reads a body of this length.
pub(in crate::process) fn read_body(
    incoming: &mut Incoming<'_>,
    length: Length,
) -> Result<Vec<u8>, Stop> {
    let deadline = Some(Instant::now() + BODY_TIME);
    match length {
        Length::Known(length) => {
            let there = incoming.take(length);
            if there.len() == length {
                return Ok(there);
            }
            let mut body = vec![0; length];
            body[..there.len()].copy_from_slice(&there);
            incoming.fill_body(&mut body, there.len(), deadline)?;
            Ok(body)
        }
        Length::Chunked => chunked(incoming, deadline),
    }
}

/// Reads the body of a call, which may be none.
pub(in crate::process) fn read_call(
    incoming: &mut Incoming<'_>,
    head: &Head,
) -> Result<Result<Execute, WireError>, Stop> {
    match head.body {
        Length::Known(length) if length <= incoming.rest().len() => {
            let body = &incoming.rest()[..length];
            let call = head.form.decode_execute(body, MAX_BODY);
            incoming.rest.start += length;
            Ok(call)
        }
        Length::Known(length) if head.form == Form::Plg => {
            let mut body = Body {
                incoming,
                left: length,
                deadline: Some(Instant::now() + BODY_TIME),
                stop: None,
            };
            let call = Form::read_execute(&mut body, length);
            body.finish()?;
            Ok(call)
        }
        length => {
            let body = read_body(incoming, length)?;
            Ok(head.form.decode_execute(&body, MAX_BODY))
        }
    }
}

/// A body that is read while it comes.
struct Body<'a, 'b> {
    incoming: &'a mut Incoming<'b>,
    left: usize,
    deadline: Option<Instant>,
    /// Why there is no more.
    stop: Option<Stop>,
}

impl Body<'_, '_> {
    /// Reads what nobody used.
    fn finish(mut self) -> Result<(), Stop> {
        let mut piece = Vec::new();
        while self.stop.is_none() && self.left > 0 {
            piece.clear();
            self.more(&mut piece, PIECE);
        }
        self.stop.map_or(Ok(()), Err)
    }

    fn fill(&mut self, out: &mut [u8]) -> Option<usize> {
        let most = out.len().min(self.left);
        match self.incoming.fill_some(&mut out[..most], self.deadline) {
            Ok(count) => {
                self.left -= count;
                Some(count)
            }
            Err(stop) => {
                self.stop = Some(stop);
                None
            }
        }
    }
}

impl Source for Body<'_, '_> {
    fn more(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        let start = out.len();
        out.resize(start + most, 0);
        let count = self.fill(&mut out[start..]);
        out.truncate(start + count.unwrap_or_default());
        count.is_some()
    }

    fn block(&mut self, start: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut block = spare::block(length);
        block[..start.len()].copy_from_slice(start);
        let mut there = start.len();
        while there < length {
            there += self.fill(&mut block[there..])?;
        }
        Some(block)
    }
}

fn need(incoming: &mut Incoming<'_>, count: usize, deadline: Option<Instant>) -> Result<(), Stop> {
    while incoming.rest().len() < count {
        incoming.fill(deadline)?;
    }
    Ok(())
}

/// Extensions and trailers mean nothing here, and proxies disagree about both: there are none.
fn chunked(incoming: &mut Incoming<'_>, deadline: Option<Instant>) -> Result<Vec<u8>, Stop> {
    let mut body = Vec::new();
    loop {
        let size = chunk_size(incoming, deadline)?;
        if size > MAX_BODY - body.len() {
            return Err(Stop::Refused(413, "the body is too large"));
        }
        need(incoming, size + 2, deadline)?;
        let mut piece = incoming.take(size + 2);
        if piece.split_off(size) != b"\r\n" {
            return Err(Stop::Refused(
                400,
                "a chunk is longer than it says, or has a trailer",
            ));
        }
        if size == 0 {
            return Ok(body);
        }
        body.append(&mut piece);
    }
}

fn chunk_size(incoming: &mut Incoming<'_>, deadline: Option<Instant>) -> Result<usize, Stop> {
    let wrong = || Stop::Refused(400, "the size of a chunk is not a number");
    let digits = loop {
        let digits = incoming
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        if digits > SIZE_DIGITS {
            return Err(wrong());
        }
        // With two bytes after the digits, all of the line is there.
        if incoming.rest().len() >= digits + 2 {
            break digits;
        }
        incoming.fill(deadline)?;
    };
    let line = incoming.take(digits + 2);
    let (digits, end) = line.split_at(digits);
    if digits.is_empty() || end != b"\r\n" {
        return Err(wrong());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
    usize::from_str_radix(digits, 16).map_err(|_| wrong())
}
