// SPDX-License-Identifier: GPL-2.0
//! Lines over a number.

use super::axis::Axis;
use super::svg::{colour, tick, Place, Svg};

pub struct Lines {
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    /// Its colour and shape: those of another line of the same name, in another plot.
    pub index: usize,
    /// Sorted by x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 60.0;
/// Half of what is left out of an axis where it is broken, and of what its ends lean over.
const GAP: f64 = 3.0;
const SLANT: f64 = 2.5;
/// Spans from which an axis is logarithmic.
const X_SPAN: f64 = 50.0;
const Y_SPAN: f64 = 20.0;

impl Lines {
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let widths = points().map(|point| point.0);
        let x = Axis::fit_with_zero(widths, X_SPAN, LEFT, WIDTH - RIGHT);
        // Less than nothing is a rounding of nothing, and no reason to give up decades.
        let heights = points().map(|point| point.1).filter(|y| *y > 0.0);
        let y = Axis::fit(heights, Y_SPAN, HEIGHT - BOTTOM, TOP);
        let mut svg = Svg::new(WIDTH, HEIGHT, &self.title);
        self.axes(&mut svg, &x, &y);
        for (row, line) in self.lines.iter().enumerate() {
            line.draw(&mut svg, row, &x, &y);
        }
        svg.finish()
    }

    fn axes(&self, svg: &mut Svg, x: &Axis, y: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        let places = |axis: &Axis| axis.ticks().iter().map(|(_, at)| *at).collect::<Vec<_>>();
        for (class, xs, ys) in [
            ("minor", x.minors(), y.minors()),
            ("grid", places(x), places(y)),
        ] {
            for at in xs {
                svg.segment(class, (at, TOP), (at, bottom));
            }
            for at in ys {
                svg.segment(class, (LEFT, at), (right, at));
            }
        }
        let mut from = LEFT;
        if let Some(at) = x.broken() {
            svg.segment("axis", (LEFT, bottom), (at - GAP, bottom));
            for at in [at - GAP, at + GAP] {
                svg.segment(
                    "axis",
                    (at - SLANT, bottom + 6.0),
                    (at + SLANT, bottom - 6.0),
                );
            }
            from = at + GAP;
        }
        svg.segment("axis", (from, bottom), (right, bottom));
        svg.segment("axis", (LEFT, TOP), (LEFT, bottom));
        for (value, at) in x.ticks() {
            svg.text((at, bottom + 20.0), "middle", "", &tick(value));
        }
        for (value, at) in y.ticks() {
            svg.text((LEFT - 8.0, at + 4.0), "end", "", &tick(value));
        }
        let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        svg.text((LEFT, 28.0), "start", "title", &self.title);
        svg.text((middle, HEIGHT - 16.0), "middle", "", &scaled(&self.x, x));
        svg.upright((20.0, centre), &scaled(&self.y, y));
    }
}

fn scaled(label: &str, axis: &Axis) -> String {
    match (axis.is_log(), axis.broken()) {
        (true, Some(_)) => format!("{label} (log scale, but for the 0)"),
        (true, None) => format!("{label} (log scale)"),
        (false, _) => label.to_owned(),
    }
}

impl Line {
    /// The line, its points and its entry in the legend.
    fn draw(&self, svg: &mut Svg, row: usize, x: &Axis, y: &Axis) {
        let colour = colour(self.index);
        let place =
            |(at, value): &(f64, f64)| -> Option<Place> { Some((x.place(*at)?, y.place(*value)?)) };
        let path: Vec<Place> = self.points.iter().filter_map(place).collect();
        // Where the axis is broken, so is the line.
        let apart = x.broken().unwrap_or(LEFT);
        let (zero, rest): (Vec<Place>, _) = path.iter().partition(|(at, _)| *at < apart);
        for part in [zero, rest] {
            if part.len() > 1 {
                svg.path(&part, colour);
            }
        }
        for point in &self.points {
            if let Some(at) = place(point) {
                let tip = format!("{}, {}: {:.1}", self.name, tick(point.0), point.1);
                svg.mark(at, self.index, colour, &tip);
            }
        }
        let (left, height) = (WIDTH - RIGHT + 20.0, TOP + 12.0 + 24.0 * row as f64);
        svg.path(&[(left, height), (left + 26.0, height)], colour);
        svg.mark((left + 13.0, height), self.index, colour, &self.name);
        let gap = if path.is_empty() { " (no figures)" } else { "" };
        let name = format!("{}{gap}", self.name);
        svg.text((left + 34.0, height + 4.0), "start", "", &name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_at_zero_stands_apart_from_its_line() {
        let points = vec![
            (0.0, 211.0),
            (1000.0, 204.0),
            (10_000.0, 208.0),
            (50_000.0, 208.0),
        ];
        let mut plot = Lines {
            title: "deadconn".into(),
            x: "idle connections".into(),
            y: "instructions".into(),
            lines: vec![Line {
                name: "evpoll".into(),
                index: 0,
                points,
            }],
        };
        let svg = plot.svg();
        // The line and the one in the legend, a mark for each point and in the legend.
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains(">0</text>") && svg.contains(">100\u{202f}000</text>"));
        assert!(svg.contains(">idle connections (log scale, but for the 0)</text>"));
        let axes = svg.matches("class=\"axis\"").count();
        plot.lines[0].points.remove(0);
        let svg = plot.svg();
        assert!(svg.contains(">idle connections (log scale)</text>"));
        // The two ends at the gap, and the part of the axis before it.
        assert_eq!(svg.matches("class=\"axis\"").count(), axes - 3);
    }

    #[test]
    fn every_line_is_in_the_legend_and_nothing_is_out_of_place() {
        let line = |name: &str, index, points: &[(f64, f64)]| Line {
            name: name.into(),
            index,
            points: points.to_vec(),
        };
        let plot = Lines {
            title: "a < b".into(),
            x: "pipes".into(),
            y: "instructions".into(),
            lines: vec![
                line("evpoll", 0, &[(10.0, 30.0), (1000.0, 31.0)]),
                line("poll", 4, &[(10.0, 900.0), (1000.0, -1.0)]),
                line("absent", 5, &[]),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.contains(">evpoll</text>") && svg.contains(">absent (no figures)</text>"));
        // Three points and three entries of the legend.
        assert_eq!(svg.matches("stroke-width=\".8\"").count(), 6);
        assert!(svg.contains(">pipes (log scale)</text>"));
        assert!(svg.contains(">instructions (log scale)</text>"));
    }
}
