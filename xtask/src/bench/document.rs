// SPDX-License-Identifier: GPL-2.0
//! A page that is written once and comes out as HTML and as Markdown.

use super::plot::Plot;
use super::table::{escape, Table};

/// In text, what stands between backquotes is code.
pub enum Block {
    Heading(String),
    Text(String),
    List(Vec<String>),
    /// A command line.
    Command(String),
    Table(Table),
    /// With the name of its file.
    Plot(String, Plot),
}

pub struct Document {
    pub title: String,
    pub blocks: Vec<Block>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;\
padding:0 1rem;color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}\
th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
th{border-bottom-color:#222;vertical-align:bottom}th.word,td.word{text-align:left}\
.wide{overflow-x:auto}code,pre{background:#f4f4f4;padding:.1rem .3rem}pre{padding:.6rem .8rem}\
figure{margin:1.5rem 0}svg{max-width:100%;height:auto}";

impl Document {
    /// A page with the plots in it.
    pub fn html(&self) -> String {
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{0}</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n",
            escape(&self.title)
        );
        for block in &self.blocks {
            out += &match block {
                Block::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
                Block::Text(text) => format!("<p>{}</p>\n", inline(text)),
                Block::List(items) => {
                    let items = items.iter().map(|item| format!("<li>{}\n", inline(item)));
                    format!("<ul>\n{}</ul>\n", items.collect::<String>())
                }
                Block::Command(line) => format!("<pre>{}</pre>\n", escape(line)),
                Block::Table(table) => table.html(),
                Block::Plot(_, plot) => format!("<figure>\n{}</figure>\n", plot.svg()),
            };
        }
        out + "</html>\n"
    }

    /// Text with the plots beside it, for a forge to show.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n", self.title);
        for block in &self.blocks {
            out.push('\n');
            out += &match block {
                Block::Heading(text) => format!("## {text}\n"),
                Block::Text(text) => format!("{text}\n"),
                Block::List(items) => items.iter().map(|item| format!("- {item}\n")).collect(),
                Block::Command(line) => format!("    {line}\n"),
                Block::Table(table) => table.markdown(),
                Block::Plot(file, plot) => format!("![{}]({file})\n", plot.title()),
            };
        }
        out
    }

    /// The plots and the names of their files.
    pub fn plots(&self) -> impl Iterator<Item = (&String, &Plot)> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Plot(file, plot) => Some((file, plot)),
            _ => None,
        })
    }
}

/// Text in HTML, with its code.
fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| match index % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::Side;
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let document = Document {
            title: "a & b".into(),
            blocks: vec![
                Block::Heading("one".into()),
                Block::Text("run `x < y` now".into()),
                Block::List(vec!["first".into(), "`second`".into()]),
                Block::Command("cargo xtask bench".into()),
                Block::Table(Table::new(&[("call", Side::Left)])),
            ],
        };
        let html = document.html();
        for part in [
            "<h1>a &amp; b</h1>",
            "<h2>one</h2>",
            "<p>run <code>x &lt; y</code> now</p>",
            "<li>first\n<li><code>second</code>",
            "<pre>cargo xtask bench</pre>",
            "<th class=\"word\">call</th>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(
            document.markdown(),
            "# a & b\n\n## one\n\nrun `x < y` now\n\n- first\n- `second`\n\n    \
             cargo xtask bench\n\n| call |\n| :--- |\n"
        );
    }
}
