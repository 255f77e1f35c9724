// SPDX-License-Identifier: GPL-2.0
//! The comments that documentation is made from: kernel-doc in C, rustdoc in Rust.

use super::objects::{with_extension, Messages};
use super::{count, Added, Outcome};
use crate::files;
use crate::kernel::Build;
use crate::progress::Step;
use crate::source::Pristine;
use anyhow::{bail, Context};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// C files in which nobody writes kernel-doc: each function is named after the one that it calls.
const HELPERS: &str = "rust/helpers";

/// What kernel-doc says about the files that the series touches, and does not say about them
/// without it; and functions of the series for all to call that have none.
pub fn kernel_doc(build: &Build, pristine: &Pristine, added: &Added) -> anyhow::Result<Outcome> {
    let tree = &build.tree.dir;
    let touched: Vec<PathBuf> = [with_extension(added, "c"), with_extension(added, "h")].concat();
    let files: Vec<&PathBuf> = touched
        .iter()
        .filter(|file| !file.starts_with(HELPERS))
        .collect();
    let mut findings = Vec::new();
    let before = run_kernel_doc(tree, &pristine.dir, &files)?;
    let after = run_kernel_doc(tree, tree, &files)?;
    findings.extend(news(&before, &after));
    for (file, lines) in added {
        if !files.contains(&file) {
            continue;
        }
        let text = files::read_text(&tree.join(file))?;
        let old = files::read(&pristine.dir.join(file))?.unwrap_or_default();
        let header = file.extension().is_some_and(|extension| extension == "h");
        for function in functions(&text) {
            let new = lines.contains(&function.line)
                && !defines(&String::from_utf8_lossy(&old), &function.name);
            let public = if header {
                !function.stub
            } else {
                !function.local
            };
            if new && public && !function.documented {
                findings.push(format!(
                    "{}:{}: {}() has no kernel-doc",
                    file.display(),
                    function.line,
                    function.name
                ));
            }
        }
    }
    Ok(Outcome {
        looked_at: count(files.len(), "C file"),
        findings,
    })
}

/// What the script says about those of the files that a tree has.
fn run_kernel_doc(scripts: &Path, tree: &Path, files: &[&PathBuf]) -> anyhow::Result<Vec<String>> {
    let there: Vec<&&PathBuf> = files
        .iter()
        .filter(|file| tree.join(file).is_file())
        .collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let mut cmd = Command::new("python3");
    cmd.arg(scripts.join("scripts/kernel-doc"))
        .args(["-none", "-Wall"])
        .args(there)
        // Otherwise it leaves compiled modules in the tree.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(tree)
        .stdin(Stdio::null());
    let out = cmd.output().context("cannot run python3")?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if said.contains("Traceback") {
        bail!(
            "kernel-doc itself failed: {}",
            said.lines().last().unwrap_or_default()
        );
    }
    let marks = ["Warning: ", "Error: "];
    let messages = said
        .lines()
        .filter_map(|line| marks.iter().find_map(|mark| line.strip_prefix(mark)));
    Ok(messages.map(str::to_owned).collect())
}

/// The messages `file:line text` that are new, or more: lines change when anything above them does.
fn news(before: &[String], after: &[String]) -> Vec<String> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for message in before {
        *known.entry(without_line(message)).or_default() += 1;
    }
    let mut found: Vec<String> = Vec::new();
    for message in after {
        match known.get_mut(&without_line(message)) {
            Some(left) if *left > 0 => *left -= 1,
            // It says many things twice.
            _ if found.contains(message) => {}
            _ => found.push(message.clone()),
        }
    }
    found
}

fn without_line(message: &str) -> String {
    let (place, text) = message.split_once(' ').unwrap_or((message, ""));
    let file = place.split(':').next().unwrap_or_default();
    format!("{file} {text}")
}

/// A function as a C file defines it.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    /// Nobody else can call it.
    local: bool,
    /// It does nothing but return: for kernels without the option.
    stub: bool,
    documented: bool,
}

/// The functions that a C file in the kernel's style defines: their definitions begin in the first
/// column and end with a `{`, on that line or on a later one.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut documented = false;
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with(" */") || line.starts_with("/*") {
            documented = is_kernel_doc(&lines[..=index]);
            continue;
        }
        let Some(name) = name_of_function(line) else {
            // The rest of a comment, of a body or of a list of parameters.
            if !line.starts_with([' ', '\t', '*']) {
                documented = false;
            }
            continue;
        };
        let head = lines[index..].iter().take(8);
        let head: String = head.flat_map(|line| [line, "\n"]).collect();
        let body = head.find('{');
        // A declaration, or a macro that makes something.
        if body.is_none_or(|body| head.find(';').is_some_and(|end| end < body)) {
            documented = false;
            continue;
        }
        let body = body.map_or("", |body| &head[body..]);
        let first = body.lines().next().unwrap_or_default();
        found.push(Function {
            name: name.to_owned(),
            line: index + 1,
            local: line.starts_with("static "),
            stub: first.trim_end().ends_with('}'),
            documented,
        });
        documented = false;
    }
    found
}

/// Whether the comment that ends the lines is kernel-doc.
fn is_kernel_doc(lines: &[&str]) -> bool {
    let start = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("/*"));
    start.is_some_and(|start| lines[start].trim() == "/**")
}

/// `static inline int name(struct file *file,`: the name, if a definition may begin so.
fn name_of_function(line: &str) -> Option<&str> {
    if !line.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return None;
    }
    let (before, _) = line.split_once('(')?;
    let name = before
        .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .next()?;
    let typed = before.len() > name.len();
    let keyword = ["typedef", "return", "else", "enum", "union"]
        .iter()
        .any(|word| before.starts_with(word));
    (typed && !name.is_empty() && !keyword && !before.contains('=')).then_some(name)
}

/// Whether a file has a function of this name.
fn defines(text: &str, name: &str) -> bool {
    functions(text).iter().any(|function| function.name == name)
}

/// What rustdoc says about what the series adds to the kernel crate and to crates of its own. Uses
/// what clippy has compiled. A crate of the series' own has no public items, and its documentation
/// is that of all others.
pub fn rustdoc(build: &Build, added: &Added, step: &mut Step) -> anyhow::Result<Outcome> {
    let rust = with_extension(added, "rs");
    let mut commands = Vec::new();
    if rust.iter().any(|file| file.starts_with("rust/kernel")) {
        commands.push(build.objdir.join("rust/.kernel.o.cmd"));
    }
    for folder in super::objects::crates(&rust, &build.tree.dir) {
        commands.extend(compiled(&build.objdir.join(folder))?);
    }
    let program = build
        .tools
        .make_vars
        .iter()
        .find(|(name, _)| name == "RUSTDOC")
        .map_or("rustdoc", |(_, path)| path.as_str());
    let place = files::staging(&build.objdir.join("evpoll-rustdoc"))?;
    let mut messages = Messages::default();
    for command in &commands {
        let text = files::read_text(command)?;
        let saved =
            Saved::parse(&text).with_context(|| format!("{} has no command", command.display()))?;
        step.note(command.display().to_string());
        let mut cmd = Command::new(program);
        cmd.args(rustdoc_words(&saved.arguments))
            .envs(saved.environment)
            .arg("--output")
            .arg(&place)
            .current_dir(&build.objdir)
            .env("RUSTC_BOOTSTRAP", "1")
            .stdin(Stdio::null());
        let out = cmd.output().context("cannot run rustdoc")?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        said.lines().for_each(|line| messages.rust(line));
        if !out.status.success() {
            let error = said.lines().find(|line| line.starts_with("error"));
            bail!("rustdoc failed: {}", error.unwrap_or("it does not say why"));
        }
    }
    files::remove(&place)?;
    Ok(Outcome {
        looked_at: count(rust.len(), "Rust file"),
        findings: messages.about(added, &build.tree.dir),
    })
}

/// How kbuild has compiled the Rust objects of a folder.
fn compiled(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files::entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".o.cmd") && files::read_text(&path)?.contains(" --edition=") {
            found.push(path);
        }
    }
    Ok(found)
}

/// What kbuild keeps of a command: `savedcmd_x.o := A=B compiler arguments ; others`.
#[derive(Debug, PartialEq, Eq)]
struct Saved {
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Saved {
    fn parse(text: &str) -> Option<Saved> {
        let (_, command) = text.lines().next()?.split_once(":=")?;
        // Of the shell's quotes kbuild uses the single one, around a word.
        let command = command.split(';').next()?.replace('\'', "");
        let mut words = command.split_whitespace().peekable();
        let mut environment = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            environment.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let _compiler = words.next()?;
        Some(Saved {
            environment,
            arguments: words.map(str::to_owned).collect(),
        })
    }
}

/// The arguments of a compiler, for rustdoc, which writes other files and has no lints of clippy.
fn rustdoc_words(words: &[String]) -> Vec<String> {
    const NOT_FOR_RUSTDOC: [&str; 4] = ["--emit", "--remap-path-scope", "-Wclippy", "-Aclippy"];
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--out-dir" {
            words.next();
        } else if !NOT_FOR_RUSTDOC.iter().any(|start| word.starts_with(start)) {
            kept.push(word.clone());
        }
    }
    for more in [
        "-Zunstable-options",
        // rustdoc does not record them, and so takes them for different ones.
        "-Cunsafe-allow-abi-mismatch=fixed-x18",
        "--document-private-items",
        "-Arustdoc::private_intra_doc_links",
    ] {
        kept.push(more.to_owned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "\
/**
 * one - documented
 */
int one(struct file *file,
\tint x)
{
\tif (x)
\t\treturn f(x);
}
EXPORT_SYMBOL(one);

/* Two is not. */
void two(void)
{
}

void declared(int x);

static int three(void) { return 0; }

static const struct ops ops = {
\t.f = f(x),
};
/**
 * sys_four - a system call
 */
SYSCALL_DEFINE1(four, int, x)
{
}
";

    #[test]
    fn functions_and_whether_they_are_documented() {
        let found: Vec<(String, usize, bool, bool)> = functions(C)
            .into_iter()
            .map(|f| (f.name, f.line, f.local, f.documented))
            .collect();
        let of = |name: &str, line, local, documented| (name.to_owned(), line, local, documented);
        assert_eq!(
            found,
            [
                of("one", 4, false, true),
                of("two", 13, false, false),
                of("three", 19, true, false),
            ]
        );
        assert!(functions(C)[2].stub && !functions(C)[0].stub);
        assert!(defines(C, "two") && !defines(C, "declared"));
    }

    #[test]
    fn only_news_of_kernel_doc_count() {
        let said = |lines: &[&str]| {
            lines
                .iter()
                .map(|&line| line.to_owned())
                .collect::<Vec<_>>()
        };
        let before = said(&["a.h:3 no description of 'x'", "a.h:9 no description of 'y'"]);
        let after = said(&[
            "a.h:5 no description of 'x'",
            "a.h:11 no description of 'y'",
            "a.h:20 no description of 'y'",
            "a.h:20 no description of 'y'",
            "b.h:1 no description of 'x'",
        ]);
        assert_eq!(
            news(&before, &after),
            [
                "a.h:20 no description of 'y'",
                "b.h:1 no description of 'x'"
            ]
        );
    }

    #[test]
    fn a_saved_command_becomes_one_for_rustdoc() {
        let saved = "savedcmd_rust/kernel.o :=  OBJTREE=/o /usr/bin/clippy-driver --edition=2021 \
                     -Wclippy::all -Wmissing_docs -Zcrate-attr='feature(a)' --out-dir fs/ \
                     --emit=metadata=x /t/lib.rs ;llvm-link x\n\nsource_x := y\n";
        let saved = Saved::parse(saved).unwrap();
        assert_eq!(saved.environment, [("OBJTREE".into(), "/o".into())]);
        assert_eq!(saved.arguments[0], "--edition=2021");
        let kept = rustdoc_words(&saved.arguments);
        assert_eq!(
            kept[..4],
            [
                "--edition=2021",
                "-Wmissing_docs",
                "-Zcrate-attr=feature(a)",
                "/t/lib.rs"
            ]
        );
        assert!(kept.contains(&"--document-private-items".to_owned()));
        assert_eq!(Saved::parse("nothing"), None);
    }
}
