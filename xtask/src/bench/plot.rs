// SPDX-License-Identifier: GPL-2.0
//! A line plot with logarithmic axes, as SVG.

use std::fmt::Write;

pub struct Plot {
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    /// Sorted by x. Only positive values have a place on a logarithmic axis.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;

/// Told apart by people who do not see all colours, too (Okabe and Ito's set).
const COLOURS: [&str; 7] = [
    "#d55e00", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#000000",
];
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px}\
.grid{stroke:#ddd}.minor{stroke:#f2f2f2}.axis{stroke:#222}";

/// A logarithmic axis from one power of ten to another.
struct Axis {
    from: i32,
    to: i32,
    start: f64,
    end: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(0.0, f64::max);
        if high <= 0.0 {
            return Axis {
                from: 0,
                to: 1,
                start,
                end,
            };
        }
        // Rounding must not put a power of ten beyond itself.
        let from = (low.log10() + 1e-9).floor() as i32;
        let to = (high.log10() - 1e-9).ceil() as i32;
        Axis {
            from,
            to: to.max(from + 1),
            start,
            end,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.start + share * (self.end - self.start)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 10f64.powi(power))
    }

    /// What lies between the powers of ten.
    fn minors(&self) -> impl Iterator<Item = f64> {
        (self.from..self.to)
            .flat_map(|power| (2..10).map(move |n| f64::from(n) * 10f64.powi(power)))
    }
}

impl Plot {
    pub fn svg(&self) -> String {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| &line.points)
                .filter(|p| shown(p))
        };
        let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::new(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n",
            escape(&self.title)
        );
        self.axes(&mut out, &x, &y);
        for (index, line) in self.lines.iter().enumerate() {
            draw(&mut out, line, index, &x, &y);
        }
        out + "</svg>\n"
    }

    fn axes(&self, out: &mut String, x: &Axis, y: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (class, values) in [
            ("minor", x.minors().collect::<Vec<_>>()),
            ("grid", x.decades().collect()),
        ] {
            for at in values.into_iter().map(|value| x.place(value)) {
                segment(out, class, (at, TOP), (at, bottom));
            }
        }
        for (class, values) in [
            ("minor", y.minors().collect::<Vec<_>>()),
            ("grid", y.decades().collect()),
        ] {
            for at in values.into_iter().map(|value| y.place(value)) {
                segment(out, class, (LEFT, at), (right, at));
            }
        }
        segment(out, "axis", (LEFT, bottom), (right, bottom));
        segment(out, "axis", (LEFT, TOP), (LEFT, bottom));
        for value in x.decades() {
            text(
                out,
                (x.place(value), bottom + 20.0),
                "middle",
                "",
                &tick(value),
            );
        }
        for value in y.decades() {
            text(
                out,
                (LEFT - 8.0, y.place(value) + 4.0),
                "end",
                "",
                &tick(value),
            );
        }
        let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        text(out, (LEFT, 28.0), "start", " class=\"title\"", &self.title);
        text(out, (middle, HEIGHT - 16.0), "middle", "", &self.x);
        let turned = format!(" transform=\"rotate(-90 20 {centre:.1})\"");
        text(out, (20.0, centre), "middle", &turned, &self.y);
    }
}

/// One line, its points and its entry in the legend.
fn draw(out: &mut String, line: &Line, index: usize, x: &Axis, y: &Axis) {
    let colour = COLOURS[index % COLOURS.len()];
    let visible: Vec<&(f64, f64)> = line.points.iter().filter(|point| shown(point)).collect();
    let path: Vec<String> = visible
        .iter()
        .map(|point| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1)))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        path.join(" ")
    );
    for point in &visible {
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"><title>{}, {}: {:.1}</title></circle>",
            x.place(point.0),
            y.place(point.1),
            escape(&line.name),
            tick(point.0),
            point.1
        );
    }
    let (at, height) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + 24.0 * index as f64);
    let _ = writeln!(
        out,
        "<line x1=\"{at}\" y1=\"{height}\" x2=\"{}\" y2=\"{height}\" stroke=\"{colour}\" stroke-width=\"3\"/>",
        at + 22.0
    );
    let gap = if visible.is_empty() {
        " (no figures)"
    } else {
        ""
    };
    text(
        out,
        (at + 30.0, height + 4.0),
        "start",
        "",
        &format!("{}{gap}", line.name),
    );
}

fn shown(point: &(f64, f64)) -> bool {
    point.0 > 0.0 && point.1 > 0.0
}

fn segment(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, more: &str, content: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\"{more}>{}</text>",
        at.0,
        at.1,
        escape(content)
    );
}

/// 10 000 rather than 10000; no trailing zeros below one.
fn tick(value: f64) -> String {
    if value < 1.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_span_whole_decades() {
        let axis = Axis::new([10.0, 1000.0].into_iter(), 0.0, 100.0);
        assert_eq!((axis.from, axis.to), (1, 3));
        assert!((axis.place(100.0) - 50.0).abs() < 1e-9);
        let axis = Axis::new([250.0].into_iter(), 0.0, 100.0);
        assert_eq!((axis.from, axis.to), (2, 3));
        assert_eq!(axis.minors().count(), 8);
        let axis = Axis::new([].into_iter(), 0.0, 100.0);
        assert!(axis.to > axis.from);
    }

    #[test]
    fn every_line_is_in_the_legend_and_nothing_is_out_of_place() {
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.into(),
            points: points.to_vec(),
        };
        let plot = Plot {
            title: "a < b".into(),
            x: "pipes".into(),
            y: "instructions".into(),
            lines: vec![
                line("evpoll", &[(10.0, 300.0), (100.0, 310.0)]),
                line("poll", &[(10.0, 900.0), (100.0, -1.0)]),
                line("absent", &[]),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.contains(">evpoll</text>") && svg.contains(">absent (no figures)</text>"));
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">pipes</text>") && svg.contains(">instructions</text>"));
    }

    #[test]
    fn ticks_are_readable() {
        assert_eq!(tick(100.0), "100");
        assert_eq!(tick(100_000.0), "100\u{202f}000");
        assert_eq!(tick(0.1), "0.1");
    }
}
