// SPDX-License-Identifier: GPL-2.0
//! What SVG is made of.

use super::super::table::escape;
use std::fmt::Write;

/// Told apart by people who do not see all colours, too (Okabe and Ito's set).
const COLOURS: [&str; 8] = [
    "#d55e00", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#000000", "#999999",
];
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px}\
.grid{stroke:#ddd}.minor{stroke:#f2f2f2}.axis,.whisker{stroke:#222}.bold{font-weight:600}\
.small{font-size:12px}";

/// A place in the drawing.
pub type Place = (f64, f64);

/// A drawing in the making.
pub struct Svg {
    out: String,
}

impl Svg {
    pub fn new(width: f64, height: f64, title: &str) -> Svg {
        let out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n\
             <style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n",
            escape(title)
        );
        Svg { out }
    }

    pub fn finish(self) -> String {
        self.out + "</svg>\n"
    }

    /// Writing to a string cannot fail.
    fn line(&mut self, arguments: std::fmt::Arguments) {
        let _ = writeln!(self.out, "{arguments}");
    }

    pub fn segment(&mut self, class: &str, from: Place, to: Place) {
        self.line(format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    pub fn path(&mut self, points: &[Place], colour: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
    }

    pub fn rect(&mut self, (x, y): Place, (width, height): Place, colour: &str, tip: &str) {
        self.line(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"><title>{}</title></rect>",
            escape(tip)
        ));
    }

    /// A point of a line, in a shape of its own for each line.
    pub fn mark(&mut self, (x, y): Place, index: usize, colour: &str, tip: &str) {
        let corners: &[Place] = match index % 4 {
            0 => &[],
            1 => &[(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)],
            2 => &[(0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)],
            _ => &[(0.0, -5.0), (5.0, 4.0), (-5.0, 4.0)],
        };
        let shape = match corners {
            [] => format!("circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\""),
            corners => {
                let points: Vec<String> = corners
                    .iter()
                    .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
                    .collect();
                format!("polygon points=\"{}\"", points.join(" "))
            }
        };
        let name = shape.split(' ').next().unwrap_or_default().to_owned();
        self.line(format_args!(
            "<{shape} fill=\"{colour}\" stroke=\"#fff\" stroke-width=\".8\"><title>{}</title></{name}>",
            escape(tip)
        ));
    }

    pub fn text(&mut self, (x, y): Place, anchor: &str, class: &str, content: &str) {
        self.line(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escape(content)
        ));
    }

    /// From the bottom to the top.
    pub fn upright(&mut self, (x, y): Place, content: &str) {
        self.line(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 {x:.1} {y:.1})\">{}</text>",
            escape(content)
        ));
    }
}

pub fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Figures, as people read them: 10 000 rather than 10000, and no digits that say nothing.
pub fn tick(value: f64) -> String {
    let digits = if value.abs() >= 10.0 || value.fract() == 0.0 {
        format!("{:.0}", value.abs())
    } else {
        let digits = format!("{:.2}", value.abs());
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut out = String::new();
    if value < 0.0 {
        out.push('\u{2212}');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index < whole && (whole - index) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_readable() {
        assert_eq!(tick(100.0), "100");
        assert_eq!(tick(100_000.0), "100\u{202f}000");
        assert_eq!(tick(0.1), "0.1");
        assert_eq!(tick(0.0), "0");
        assert_eq!(tick(2.5), "2.5");
        assert_eq!(tick(-1500.4), "\u{2212}1\u{202f}500");
    }

    #[test]
    fn marks_are_well_formed() {
        let mut svg = Svg::new(10.0, 10.0, "a < b");
        (0..4).for_each(|index| svg.mark((1.0, 1.0), index, colour(index), "x"));
        let text = svg.finish();
        assert!(text.contains("a &lt; b"));
        assert_eq!(text.matches("</polygon>").count(), 3);
        assert_eq!(text.matches("</circle>").count(), 1);
    }
}
