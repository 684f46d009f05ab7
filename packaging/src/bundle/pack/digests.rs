//! The digests of many files, taken on several threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::source::Meter;
use super::{PackError, Source};
use crate::Digest;

/// What a thread has to tell.
enum News {
    /// So many bytes more are done.
    Read(u64),
    /// All of a source is done.
    Done(usize, Result<(u64, Digest), PackError>),
}

/// Size and digest of every source, in their order.
pub(super) fn of_all(
    sources: &[&Source],
    threads: NonZeroUsize,
    meter: &mut Meter<'_>,
) -> Result<Vec<(u64, Digest)>, PackError> {
    let next = AtomicUsize::new(0);
    let mut digests = vec![None; sources.len()];
    thread::scope(|scope| {
        let (news, inbox) = channel();
        for _ in 0..threads.get().min(sources.len()) {
            let (news, next) = (news.clone(), &next);
            thread::Builder::new()
                .name("plg-digest".to_owned())
                .spawn_scoped(scope, move || work(sources, next, &news))?;
        }
        drop(news);
        for news in inbox {
            match news {
                News::Read(bytes) => meter.add(bytes),
                // The others end when nobody listens any more.
                News::Done(place, digest) => digests[place] = Some(digest?),
            }
        }
        Ok::<(), PackError>(())
    })?;
    Ok(digests.into_iter().flatten().collect())
}

fn work(sources: &[&Source], next: &AtomicUsize, news: &Sender<News>) {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(source) = sources.get(place) else {
            return;
        };
        let mut is_heard = true;
        let digest = source.digest(&mut |bytes| {
            is_heard = news.send(News::Read(bytes)).is_ok();
            is_heard
        });
        if !is_heard || news.send(News::Done(place, digest)).is_err() {
            return;
        }
    }
}
