//! Which system calls a process can make.
//!
//! A list of those that it cannot: what landlock does not hold back (the attributes of files, memory that is shared
//! by name, other processes), what makes a process more than it was, and what has had most of the kernel's holes.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{MaskedEq, Ne};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// The filters, each of which is asked about every call.
pub(super) fn filters(network: bool) -> Result<Vec<BpfProgram>, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH);
    let arch = arch.map_err(|_| "this processor's system calls cannot be filtered".to_owned())?;
    let build = || -> Result<Vec<BpfProgram>, BackendError> {
        let refused = filter(refused(network)?, libc::EPERM, arch)?;
        // The C library falls back to `clone`, whose flags can be looked at.
        let unknown = filter(rules([libc::SYS_clone3]), libc::ENOSYS, arch)?;
        let idle = rules(IDLE.iter().chain(IDLE_HERE).copied());
        Ok(vec![refused, unknown, filter(idle, 0, arch)?])
    };
    let mut filters = build().map_err(|error| format!("seccomp: {error}"))?;
    if cfg!(target_arch = "x86_64") {
        filters.push(no_other_numbers());
    }
    Ok(filters)
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Calls that are refused whatever is asked for.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The kernel and the machine.
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    // What is mounted where, and in which namespace.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Large parts of the kernel that a plugin has no use for.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Files past their path.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Attributes of files, which landlock leaves to whoever owns them.
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // Memory and queues that are found by a number or a name that is no file.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// What there is on this processor alone.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// Calls that do nothing and say that they succeeded: modes and times of files. Landlock leaves them to whoever
/// owns a file, which may be the user's own; many a program sets them for a socket or a file that nobody else
/// can reach anyway, and would end if it could not.
const IDLE: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_utimensat,
];
#[cfg(target_arch = "x86_64")]
const IDLE_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const IDLE_HERE: &[c_long] = &[];

/// Numbers that are the same on every processor, and newer than the library that names the others.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

/// The flags that put a new process into a namespace of its own.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Calls about a process that may be another one: refused unless they say 0 at this place, which is the caller.
const ONLY_SELF: [(c_long, u8); 6] = [
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_ioprio_set, 1),
];

/// What puts characters into somebody else's terminal.
const TERMINAL: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

fn refused(network: bool) -> Result<Rules, BackendError> {
    let mut refused = rules(REFUSED.iter().chain(REFUSED_HERE).copied());
    let mut refuse = |call: c_long, conditions: &[Condition]| {
        let rule = conditions.iter().map(Condition::compile);
        let rule = SeccompRule::new(rule.collect::<Result<_, _>>()?)?;
        refused.entry(call).or_default().push(rule);
        Ok::<_, BackendError>(())
    };
    for flag in NAMESPACES {
        let flag = u64::from(flag.cast_unsigned());
        refuse(libc::SYS_clone, &[Condition::has(0, Qword, flag, flag)])?;
    }
    for (call, place) in ONLY_SELF {
        refuse(call, &[Condition::is_not(place, 0)])?;
    }
    // For one process, and that is the caller.
    refuse(libc::SYS_setpriority, &[Condition::is_not(0, 0)])?;
    refuse(libc::SYS_setpriority, &[Condition::is_not(1, 0)])?;
    for request in TERMINAL {
        let all = u64::from(u32::MAX);
        refuse(libc::SYS_ioctl, &[Condition::has(1, Dword, all, request)])?;
    }
    let all = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let families = if network { &all[..] } else { &all[..1] };
    let others: Vec<_> = families
        .iter()
        .map(|family| Condition::is_not(0, family.cast_unsigned().into()))
        .collect();
    refuse(libc::SYS_socket, &others)?;
    let kind = |family: i32, kind: i32| {
        let family = u64::from(family.cast_unsigned());
        [
            Condition::has(0, Dword, u32::MAX.into(), family),
            Condition::has(1, Dword, KIND, kind.cast_unsigned().into()),
        ]
    };
    if network {
        // Raw packets, and anything of the kernel's but the question which addresses this machine has.
        refuse(libc::SYS_socket, &kind(libc::AF_INET, libc::SOCK_RAW))?;
        refuse(libc::SYS_socket, &kind(libc::AF_INET6, libc::SOCK_RAW))?;
        let netlink = u64::from(libc::AF_NETLINK.cast_unsigned());
        let netlink = Condition::has(0, Dword, u32::MAX.into(), netlink);
        refuse(libc::SYS_socket, &[netlink, Condition::is_not(2, 0)])?;
    } else {
        // A socket that is a file belongs to somebody else, and to no rule of landlock's. One that takes
        // messages could send them there without being connected.
        for unconnected in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            let kind = kind(libc::AF_UNIX, unconnected);
            refuse(libc::SYS_socket, &kind)?;
            refuse(libc::SYS_socketpair, &kind)?;
        }
        refused.insert(libc::SYS_connect, Vec::new());
    }
    Ok(refused)
}

/// The bits of a socket's type that say which it is.
const KIND: u64 = 0xf;

/// What an argument has to be for a rule to apply.
struct Condition(u8, SeccompCmpArgLen, SeccompCmpOp, u64);

impl Condition {
    fn is_not(argument: u8, value: u64) -> Self {
        Self(argument, Dword, Ne, value)
    }

    fn has(argument: u8, length: SeccompCmpArgLen, mask: u64, value: u64) -> Self {
        Self(argument, length, MaskedEq(mask), value)
    }

    fn compile(&self) -> Result<SeccompCondition, BackendError> {
        SeccompCondition::new(self.0, self.1.clone(), self.2.clone(), self.3)
    }
}

fn rules(calls: impl IntoIterator<Item = c_long>) -> Rules {
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// A filter that answers these calls with `error`.
fn filter(rules: Rules, error: i32, arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let error = SeccompAction::Errno(error.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, error, arch)?.try_into()
}

/// A filter that knows no call of x32, whose numbers mean the same calls once more.
fn no_other_numbers() -> BpfProgram {
    const FIRST: u32 = 0x4000_0000;
    // The number stands first in what a filter sees.
    const NUMBER: u32 = 0;
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    let answer = |answer| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer);
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, FIRST),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        answer(libc::SECCOMP_RET_ALLOW),
    ]
}
