// SPDX-License-Identifier: GPL-2.0
//! What the guest is to do, as the files that `qemu/init` reads.

use std::path::PathBuf;

/// Which root file system the command sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// The boot archive itself.
    Guest,
    /// The host's, read-only.
    Host {
        /// Folders copied in, writable, at the same path.
        overlays: Vec<PathBuf>,
        /// Folders that stay visible although they lie in one that is covered ([`COVERED`]).
        keeps: Vec<PathBuf>,
    },
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

    /// `/evpoll/settings`. Without `ports`, everything is on the console.
    pub fn settings(&self, ports: bool) -> String {
        let word = |flag| if flag { "yes" } else { "no" };
        let size = self.terminal.unwrap_or(Size {
            rows: 24,
            columns: 80,
        });
        let (root, overlays, keeps) = match &self.root {
            Root::Guest => ("guest", 0, 0),
            Root::Host { overlays, keeps } => ("host", overlays.len(), keeps.len()),
        };
        format!(
            "ports={}\nroot={root}\noverlays={overlays}\nkeeps={keeps}\ntty={}\nrows={}\ncolumns={}\n\
             alive={}\nleaks={}\n",
            match (ports, self.hold) {
                (false, _) => "no",
                (true, false) => "virtio",
                (true, true) => "serial",
            },
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
                overlays: vec!["/srv/a b".into()],
                keeps: vec![],
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
        assert!(settings.contains("overlays=1\nkeeps=0\n"));
        assert!(settings.contains("leaks=yes\n"));
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(quote("/usr/bin/python3"), "/usr/bin/python3");
        assert_eq!(quote("$HOME"), "'$HOME'");
    }
}
