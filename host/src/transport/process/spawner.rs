//! The thread that children are started on.
//!
//! A child asks for a signal when its parent dies, and the kernel takes the thread that started it for the
//! parent. So that is a thread that lives as long as any of the children.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::before_exec;
use super::sandbox::Barrier;

/// Starts children, one after the other. The thread begins with the first of them.
#[derive(Debug, Default)]
pub(crate) struct Spawner(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

struct Job {
    command: Command,
    /// A descriptor that the child keeps, under its number.
    given: Option<RawFd>,
    barrier: Barrier,
    answer: Sender<io::Result<Child>>,
}

/// How often a program that somebody still writes is tried again, and how long after.
const BUSY: (u32, Duration) = (5, Duration::from_millis(10));

impl Spawner {
    /// Starts `command` in a process group of its own, with `barrier` around it. The child keeps the descriptor that it
    /// is `given`, beside its standard streams.
    pub(crate) fn spawn(
        &self,
        command: Command,
        given: Option<BorrowedFd<'_>>,
        barrier: Barrier,
    ) -> io::Result<Child> {
        let (answer, answered) = mpsc::channel();
        let given = given.map(|given| given.as_raw_fd());
        self.send(Job {
            command,
            given,
            barrier,
            answer,
        })?;
        // Whoever lends the descriptor does so until the child is there.
        answered
            .recv()
            .map_err(|_| io::Error::other("the thread that starts processes ended"))?
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match &*running {
            Some(running) => running.jobs.clone(),
            None => {
                let (jobs, received) = mpsc::channel::<Job>();
                let work = move || {
                    for Job {
                        command,
                        given,
                        barrier,
                        answer,
                    } in received
                    {
                        // Who asked may have gone, and then so does the child.
                        let _ = answer.send(spawn(command, given, barrier));
                    }
                };
                let thread = thread::Builder::new()
                    .name("plg-spawn".to_owned())
                    .spawn(work)?;
                running.insert(Running { jobs, thread }).jobs.clone()
            }
        };
        drop(running);
        jobs.send(job)
            .map_err(|_| io::Error::other("the thread that starts processes ended"))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        let running = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Running { jobs, thread }) = running.take() {
            drop(jobs);
            // It has nothing left to do.
            let _ = thread.join();
        }
    }
}

fn spawn(mut command: Command, given: Option<RawFd>, barrier: Barrier) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    before_exec::prepare(&mut command, given, barrier);
    let (tries, pause) = BUSY;
    let mut tried = 0;
    loop {
        match command.spawn() {
            // Another thread forked while the program was being written, and its child has not called
            // `exec` yet.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tried < tries => {
                tried += 1;
                thread::sleep(pause);
            }
            outcome => return outcome,
        }
    }
}
