// SPDX-License-Identifier: GPL-2.0
//! What the guest is to do, as the files that `qemu/init` reads.

use std::path::PathBuf;

/// Which root file system the command sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The boot archive itself.
    Guest,
    /// The host's, read-only, with these of its folders in a way of their own: an outer one comes
    /// before one inside of it.
    Host { places: Vec<Place> },
}

/// A folder of the host that is there in the guest otherwise than as a part of the read-only root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub how: How,
    pub folder: PathBuf,
}

impl Place {
    pub fn new(how: How, folder: impl Into<PathBuf>) -> Place {
        Place {
            how,
            folder: folder.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Read-only as well, but visible although it lies in one that is covered ([`COVERED`]).
    Keep,
    /// A copy in memory, which ends with the guest.
    Overlay,
    /// The folder itself, writable.
    Share,
}

impl How {
    /// As `qemu/init` spells it.
    pub fn name(self) -> &'static str {
        match self {
            How::Keep => "keep",
            How::Overlay => "overlay",
            How::Share => "share",
        }
    }
}

/// Folders of the host that are fresh and empty in the guest.
pub const COVERED: [&str; 4] = ["/tmp", "/run", "/var/tmp", "/dev/shm"];

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub root: Root,
    /// Program, by absolute path, and arguments.
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub folder: PathBuf,
    /// The command gets a terminal of this size instead of pipes.
    pub terminal: Option<Size>,
    /// Seconds between two signs of life; 0 for none.
    pub alive: u32,
    /// Output is sent only when the command has ended.
    pub hold: bool,
    /// kmemleak is asked in the end.
    pub leaks: bool,
}

impl Task {
    /// A program of the boot archive, and its arguments: with pipes, a watchdog, and no look for
    /// leaks.
    pub fn of_program(command: Vec<String>) -> Task {
        let environment = [("PATH", "/bin"), ("HOME", "/root"), ("TMPDIR", "/tmp")];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Task {
            root: Root::Guest,
            command,
            environment: environment.map(own).to_vec(),
            folder: "/".into(),
            terminal: None,
            alive: 5,
            hold: false,
            leaks: false,
        }
    }

    /// The folders of the host that are there in a way of their own.
    pub fn places(&self) -> &[Place] {
        match &self.root {
            Root::Guest => &[],
            Root::Host { places } => places,
        }
    }

    /// The folders that the machine has to offer, each by the name that `qemu/init` asks for.
    pub fn shares(&self) -> Vec<(String, PathBuf)> {
        let places = self.places().iter().enumerate();
        places
            .filter(|(_, place)| place.how == How::Share)
            .map(|(index, place)| (format!("share{index}"), place.folder.clone()))
            .collect()
    }

    /// `/evpoll/settings`. Without `ports`, everything is on the console.
    pub fn settings(&self, ports: bool) -> String {
        let word = |flag| if flag { "yes" } else { "no" };
        let size = self.terminal.unwrap_or(Size {
            rows: 24,
            columns: 80,
        });
        let root = match &self.root {
            Root::Guest => "guest",
            Root::Host { .. } => "host",
        };
        format!(
            "ports={}\nroot={root}\nplaces={}\ntty={}\nrows={}\ncolumns={}\nalive={}\nleaks={}\n",
            match (ports, self.hold) {
                (false, _) => "no",
                (true, false) => "virtio",
                (true, true) => "serial",
            },
            self.places().len(),
            word(self.terminal.is_some()),
            size.rows,
            size.columns,
            self.alive,
            word(self.leaks),
        )
    }

    /// `/evpoll/command`: a script that becomes the command.
    pub fn script(&self) -> String {
        let mut script = format!("cd {} || cd /\n", quote(&self.folder.to_string_lossy()));
        for (name, value) in &self.environment {
            script += &format!("export {name}={}\n", quote(value));
        }
        script += "exec";
        for word in &self.command {
            script += " ";
            script += &quote(word);
        }
        script.push('\n');
        script
    }
}

/// The word as a shell reads it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task {
            root: Root::Host {
                places: vec![
                    Place::new(How::Overlay, "/srv/a b"),
                    Place::new(How::Share, "/srv/c"),
                ],
            },
            command: vec![
                "/bin/echo".into(),
                "it's".into(),
                String::new(),
                "a b".into(),
            ],
            environment: vec![("PATH".into(), "/bin:/usr/bin".into())],
            folder: "/home/x y".into(),
            terminal: None,
            alive: 5,
            hold: false,
            leaks: true,
        }
    }

    #[test]
    fn script_quotes_everything() {
        assert_eq!(
            task().script(),
            "cd '/home/x y' || cd /\nexport PATH=/bin:/usr/bin\n\
             exec /bin/echo 'it'\\''s' '' 'a b'\n"
        );
    }

    #[test]
    fn settings_are_complete() {
        let settings = task().settings(true);
        let init = include_str!("../../../qemu/init");
        for line in settings.lines() {
            let (name, _) = line.split_once('=').unwrap();
            assert!(init.contains(&format!("${name}")), "init ignores {name}");
        }
        assert!(settings.contains("\nplaces=2\n"));
        assert!(settings.contains("leaks=yes\n"));
    }

    #[test]
    fn init_knows_each_way_and_the_names_of_shares() {
        let init = include_str!("../../../qemu/init");
        // Whatever has no case of its own is kept as it is.
        for how in [How::Overlay, How::Share] {
            let case = format!("\t{})", how.name());
            assert!(init.contains(&case), "init has no {}", how.name());
        }
        assert!(init.contains("\"share$1\""));
        assert_eq!(task().shares(), [("share1".into(), "/srv/c".into())]);
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(quote("/usr/bin/python3"), "/usr/bin/python3");
        assert_eq!(quote("$HOME"), "'$HOME'");
    }
}
