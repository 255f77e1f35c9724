// SPDX-License-Identifier: GPL-2.0
//! A machine and its command line.

use std::os::fd::RawFd;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    /// Emulation, all processors in turn in one thread. With a thread for each, QEMU before 8.1
    /// runs stale code where the kernel patches its own (static keys), and the kernel dies of it.
    Tcg,
    /// Emulation, a thread for each processor: for a kernel that does not patch its own code.
    Parallel,
    /// Emulation of one processor whose clock counts instructions.
    Counting,
}

impl Acceleration {
    /// As QEMU's options spell it, for people and for the JSON of the benchmarks.
    pub fn name(self) -> &'static str {
        match self {
            Acceleration::Kvm => "kvm",
            Acceleration::Tcg => "tcg",
            Acceleration::Parallel => "tcg,thread=multi",
            Acceleration::Counting => "tcg,icount shift=0,sleep=off",
        }
    }
}

/// A port of the guest and the socket behind it.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub name: &'static str,
    /// `/dev/vport0pNUMBER`; 0 is `/dev/hvc0`.
    pub number: u32,
    pub socket: RawFd,
}

/// Where what goes in and out of the machine is connected.
#[derive(Clone, Debug)]
pub enum Wiring {
    /// The console is a terminal's: for a command line that a person runs.
    Console,
    /// Sockets that QEMU inherits; virtio ports for a command's input and output.
    Ports {
        console: RawFd,
        ports: Vec<Port>,
        /// For QEMU's own protocol (QMP), if somebody wants to steer it.
        monitor: Option<RawFd>,
    },
    /// Pipes that QEMU inherits; a second serial line for everything that the guest has to say.
    /// Each byte is handed over by an instruction of the guest, and not at a time that QEMU's
    /// event loop chooses: counted figures are the same in every run. With virtio, or with sockets,
    /// they are not.
    Line { console: RawFd, control: RawFd },
}

/// A record of the code that is run. With emulation only.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The file that it is written to.
    pub log: PathBuf,
    pub of: Traced,
}

#[derive(Clone, Debug)]
pub enum Traced {
    /// What QEMU translates, which it does right before it runs something for the first time, of
    /// the code in these ranges of addresses: from, to.
    Translated(Vec<(u64, u64)>),
    /// What somebody asks for at the monitor, while the machine runs.
    OnDemand,
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub acceleration: Acceleration,
    pub processors: u16,
    /// As QEMU takes it: 512M, 2G.
    pub memory: String,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Kernel parameters beyond those that every boot has.
    pub parameters: Vec<String>,
    /// The host's root file system, read-only.
    pub share_root: bool,
    /// Folders of the host that the guest may write to, and the names that it knows them by.
    pub shares: Vec<(String, PathBuf)>,
    pub trace: Option<Trace>,
    pub wiring: Wiring,
}

/// Kernel parameters of every boot. A panic resets the machine, which ends QEMU; what is written
/// to /dev/kmsg reaches the console whole; random numbers do not wait for events.
const PARAMETERS: &str =
    "console=ttyS0 panic=-1 printk.devkmsg=on random.trust_cpu=on random.trust_bootloader=on";

impl Machine {
    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut args = Args::default();
        args.flag("-nodefaults")
            .flag("-no-user-config")
            .flag("-no-reboot");
        args.pair("-display", "none")
            .pair("-machine", "q35")
            .pair("-m", &self.memory);
        self.accelerate(&mut args);
        args.pair("-smp", self.processors.to_string());
        args.pair("-kernel", self.kernel.to_string_lossy());
        args.pair("-initrd", self.initramfs.to_string_lossy());
        args.pair("-append", self.command_line());
        if self.share_root {
            let share = "local,path=/,mount_tag=host,security_model=none,readonly=on";
            args.pair("-virtfs", format!("{share},multidevs=remap"));
        }
        for (tag, folder) in &self.shares {
            // As on the host: links are links, and what is made belongs to who runs QEMU unless
            // that is root, who may give it to others.
            let path = folder.to_string_lossy().replace(',', ",,");
            let share = format!("local,path={path},mount_tag={tag},security_model=none");
            args.pair("-virtfs", format!("{share},multidevs=remap"));
        }
        self.trace(&mut args);
        self.wire(&mut args);
        args.0
    }

    fn trace(&self, args: &mut Args) {
        let Some(Trace { log, of }) = &self.trace else {
            return;
        };
        if let Traced::Translated(ranges) = of {
            let ranges: Vec<String> = ranges
                .iter()
                .map(|(start, end)| format!("{start:#x}+{:#x}", end - start))
                .collect();
            args.pair("-d", "in_asm").pair("-dfilter", ranges.join(","));
        }
        args.pair("-D", log.to_string_lossy());
    }

    fn accelerate(&self, args: &mut Args) {
        match self.acceleration {
            Acceleration::Kvm => args.pair("-accel", "kvm").pair("-cpu", "host"),
            Acceleration::Tcg => args.pair("-accel", "tcg,thread=single").pair("-cpu", "max"),
            Acceleration::Parallel => args.pair("-accel", "tcg,thread=multi").pair("-cpu", "max"),
            // The same random numbers and the same date in every run, and so the same figures.
            Acceleration::Counting => args
                .pair("-accel", "tcg,thread=single")
                .pair("-icount", "shift=0,sleep=off")
                .pair("-cpu", "max")
                .pair("-seed", "1")
                .pair("-rtc", "base=2026-01-01,clock=vm"),
        };
    }

    fn command_line(&self) -> String {
        let mut line = PARAMETERS.to_owned();
        if self.acceleration == Acceleration::Counting {
            line += " tsc=reliable nokaslr norandmaps";
        }
        if self.trace.is_some() {
            // Code is where it was linked for.
            line += " nokaslr";
        }
        for parameter in &self.parameters {
            line.push(' ');
            line += parameter;
        }
        line
    }

    fn wire(&self, args: &mut Args) {
        match &self.wiring {
            Wiring::Console => {
                args.pair("-chardev", "stdio,id=console,signal=off");
                args.pair("-serial", "chardev:console");
            }
            Wiring::Ports {
                console,
                ports,
                monitor,
            } => {
                if let Some(socket) = monitor {
                    args.pair("-chardev", format!("socket,id=monitor,fd={socket}"));
                    args.pair("-mon", "chardev=monitor,mode=control");
                }
                args.pair("-chardev", format!("socket,id=console,fd={console}"));
                args.pair("-serial", "chardev:console");
                args.pair("-device", "virtio-serial-pci,max_ports=8");
                for Port {
                    name,
                    number,
                    socket,
                } in ports
                {
                    args.pair("-chardev", format!("socket,id={name},fd={socket}"));
                    let kind = match number {
                        0 => "virtconsole",
                        _ => "virtserialport",
                    };
                    let device = format!("{kind},chardev={name},nr={number},name=evpoll.{name}");
                    args.pair("-device", device);
                }
            }
            Wiring::Line { console, control } => {
                for (name, pipe) in [("console", console), ("control", control)] {
                    args.pair("-chardev", format!("file,id={name},path=/dev/fd/{pipe}"));
                    args.pair("-serial", format!("chardev:{name}"));
                }
            }
        }
    }
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Args {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, option: &str, value: impl AsRef<str>) -> &mut Args {
        self.flag(option).flag(value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(acceleration: Acceleration, wiring: Wiring) -> Machine {
        Machine {
            acceleration,
            processors: 2,
            memory: "1G".into(),
            kernel: "/k/bzImage".into(),
            initramfs: "/k/initramfs".into(),
            parameters: vec!["oops=panic".into()],
            share_root: false,
            shares: vec![],
            trace: None,
            wiring,
        }
    }

    fn value<'a>(args: &'a [String], option: &str) -> &'a str {
        let at = args.iter().position(|arg| arg == option).expect(option);
        &args[at + 1]
    }

    #[test]
    fn a_panic_ends_qemu() {
        let args = machine(Acceleration::Tcg, Wiring::Console).arguments();
        assert!(args.contains(&"-no-reboot".into()));
        let line = value(&args, "-append");
        assert!(
            line.contains(" panic=-1 ") && line.ends_with(" oops=panic"),
            "{line}"
        );
    }

    #[test]
    fn counting_is_one_deterministic_clock() {
        let args = machine(Acceleration::Counting, Wiring::Console).arguments();
        assert_eq!(value(&args, "-icount"), "shift=0,sleep=off");
        assert!(value(&args, "-append").contains("tsc=reliable"));
        let plain = machine(Acceleration::Tcg, Wiring::Console).arguments();
        assert!(!plain.contains(&"-icount".into()));
    }

    #[test]
    fn emulated_processors_share_a_thread() {
        let args = machine(Acceleration::Tcg, Wiring::Console).arguments();
        assert_eq!(value(&args, "-accel"), "tcg,thread=single");
    }

    #[test]
    fn the_root_is_shared_only_when_asked_and_never_writable() {
        let mut machine = machine(Acceleration::Kvm, Wiring::Console);
        assert!(!machine.arguments().contains(&"-virtfs".into()));
        machine.share_root = true;
        assert!(value(&machine.arguments(), "-virtfs").contains("readonly=on"));
    }

    #[test]
    fn only_what_is_shared_is_writable() {
        let mut machine = machine(Acceleration::Tcg, Wiring::Console);
        machine.share_root = true;
        machine.shares = vec![("share0".into(), "/srv/a,b".into())];
        let args = machine.arguments();
        let offered: Vec<&String> = args.iter().filter(|arg| arg.contains("path=")).collect();
        assert_eq!(offered.len(), 2);
        assert!(offered[0].contains("path=/,") && offered[0].contains("readonly=on"));
        assert!(offered[1].contains("path=/srv/a,,b,mount_tag=share0,"));
        assert!(!offered[1].contains("readonly"));
    }

    #[test]
    fn each_port_has_its_socket() {
        let ports = vec![
            Port {
                name: "terminal",
                number: 0,
                socket: 11,
            },
            Port {
                name: "control",
                number: 4,
                socket: 12,
            },
        ];
        let wiring = |monitor| Wiring::Ports {
            console: 10,
            ports: ports.clone(),
            monitor,
        };
        let steered = machine(Acceleration::Tcg, wiring(Some(13))).arguments();
        assert!(steered
            .join(" ")
            .contains("-chardev socket,id=monitor,fd=13 -mon chardev=monitor,mode=control"));
        let args = machine(Acceleration::Tcg, wiring(None)).arguments();
        assert!(!args.contains(&"-mon".into()));
        let all = args.join(" ");
        assert!(all.contains("-chardev socket,id=console,fd=10 -serial chardev:console"));
        assert!(all.contains("virtconsole,chardev=terminal,nr=0"));
        assert!(all.contains("virtserialport,chardev=control,nr=4"));
    }

    #[test]
    fn what_is_counted_has_no_device_with_a_time_of_its_own() {
        let wiring = Wiring::Line {
            console: 10,
            control: 11,
        };
        let all = machine(Acceleration::Counting, wiring)
            .arguments()
            .join(" ");
        assert!(!all.contains("virtio") && !all.contains("socket"), "{all}");
        assert!(all.contains("-serial chardev:console") && all.contains("-serial chardev:control"));
    }

    #[test]
    fn what_is_traced_stays_where_it_is() {
        let mut machine = machine(Acceleration::Tcg, Wiring::Console);
        assert!(!machine.arguments().join(" ").contains("nokaslr"));
        machine.trace = Some(Trace {
            log: "/log".into(),
            of: Traced::Translated(vec![(0x1000, 0x1800), (0x2000, 0x2001)]),
        });
        let args = machine.arguments();
        assert_eq!(value(&args, "-dfilter"), "0x1000+0x800,0x2000+0x1");
        assert_eq!(value(&args, "-D"), "/log");
        assert!(value(&args, "-append").contains(" nokaslr "));
        machine.trace = Some(Trace {
            log: "/log".into(),
            of: Traced::OnDemand,
        });
        let args = machine.arguments();
        assert!(!args.contains(&"-d".into()) && value(&args, "-D") == "/log");
        assert!(value(&args, "-append").contains(" nokaslr "));
    }

    #[test]
    fn there_is_no_network_device() {
        let args = machine(Acceleration::Tcg, Wiring::Console).arguments();
        assert!(args.contains(&"-nodefaults".into()));
        assert!(!args
            .iter()
            .any(|arg| arg.starts_with("-net") || arg.contains("virtio-net")));
    }
}
