//! One connection: a request, its answer, and so on.

use std::sync::Arc;

use super::http::Method;
use super::http::{Incoming, Stop, WRITE_TIME, read_body, read_call, read_head, write_response};
use super::listen::Stream;
use super::plugin::Response;
use super::router::{Question, Routed, Served};

/// Serves a connection until it ends.
pub(super) fn serve(served: &Served<'_>, stream: &Arc<Stream>) {
    if stream.set_write_timeout(WRITE_TIME).is_err() {
        return;
    }
    let mut incoming = Incoming::new(stream, served.pace);
    let mut fresh = true;
    loop {
        match next(served, stream, &mut incoming, fresh) {
            Ok(true) => fresh = false,
            Ok(false) => break,
            Err(Stop::Closed) => return,
            Err(Stop::Refused(status, reason)) => {
                let response = Response::text(status, reason);
                if write_response(stream, &response, false, true).is_err() {
                    return;
                }
                break;
            }
        }
    }
    if stream.finish().is_ok() {
        incoming.drain();
    }
}

/// Serves one request. Whether there can be another.
fn next(
    served: &Served<'_>,
    stream: &Arc<Stream>,
    incoming: &mut Incoming<'_>,
    fresh: bool,
) -> Result<bool, Stop> {
    let head = read_head(incoming, fresh, served.life.is_quiet())?;
    // From here on the program does not end before the answer is written, if it can help it.
    let mut busy = served.life.request();
    if !served.admits(&head) {
        return Err(Stop::Refused(401, "the token is missing or wrong"));
    }
    let routed = match Question::of(&head) {
        Some(question) => {
            let call = read_call(incoming, &head)?;
            served.ask(question, call, &head, stream, &mut busy)
        }
        None => {
            let body = read_body(incoming, head.body)?;
            Routed::Answer(served.route(&head, body, &mut busy))
        }
    };
    match routed {
        Routed::Answered(good) => Ok(good && !head.close),
        Routed::Answer(response) => {
            let head_only = head.method == Method::Head;
            write_response(stream, &response, head_only, head.close).map_err(|_| Stop::Closed)?;
            Ok(!head.close)
        }
    }
}
