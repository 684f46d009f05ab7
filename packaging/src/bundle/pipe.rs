//! Unpacks on a thread of its own, so that hashing and writing go on meanwhile.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::BundleError;
use super::gzip::{Chunk, Source};

/// Chunks that wait for whoever uses them. With the one in use and the one that is filled, a pipe has four.
const WAITING: usize = 2;

/// A source whose work another thread does.
struct Pipe {
    filled: Receiver<Result<Chunk, BundleError>>,
    used: Sender<Chunk>,
}

/// Runs `body` over what `source` gives ahead of it; over `source` itself where no thread can be had for that.
pub(super) fn ahead<S: Source + Send, T>(
    source: &mut S,
    body: impl FnOnce(&mut dyn Source) -> T,
) -> T {
    let done = {
        let source = &mut *source;
        thread::scope(|scope| {
            let (fill, filled) = sync_channel(WAITING);
            let (used, reuse) = channel();
            let spawned = thread::Builder::new()
                .name("plg-inflate".to_owned())
                .spawn_scoped(scope, move || pump(source, &fill, &reuse));
            match spawned {
                // The pipe goes before the thread is waited for, which ends it.
                Ok(_) => Ok(body(&mut Pipe { filled, used })),
                Err(_) => Err(body),
            }
        })
    };
    done.unwrap_or_else(|body| body(source))
}

/// Fills chunks until the source ends or nobody takes them.
fn pump<S: Source>(
    source: &mut S,
    fill: &SyncSender<Result<Chunk, BundleError>>,
    reuse: &Receiver<Chunk>,
) {
    loop {
        let mut chunk = reuse.try_recv().unwrap_or_default();
        let next = source.refill(&mut chunk).map(|()| chunk);
        let is_last = !matches!(&next, Ok(chunk) if !chunk.bytes().is_empty());
        if fill.send(next).is_err() || is_last {
            return;
        }
    }
}

impl Source for Pipe {
    fn refill(&mut self, chunk: &mut Chunk) -> Result<(), BundleError> {
        // Nothing comes after the last, which was empty or an error.
        let next = self
            .filled
            .recv()
            .unwrap_or_else(|_| Ok(Chunk::default()))?;
        let old = std::mem::replace(chunk, next);
        // Whoever fills them may have ended.
        let _ = self.used.send(old);
        Ok(())
    }
}
