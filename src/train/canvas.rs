//! What pictures are drawn on: SVG, or pixels that become a PNG. One type, so that the drawing code is compiled once.

use super::font::{HEIGHT, WIDTH, glyph};
use plotters::prelude::{DrawingBackend, SVGBackend};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, rasterizer};

type Drawn = Result<(), DrawingErrorKind<std::io::Error>>;

/// The size of text whose glyphs' pixels are one pixel.
pub(super) const PIXEL: f64 = 13.5;

pub(super) enum Canvas<'a> {
    Svg(SVGBackend<'a>),
    Pixels(&'a mut Pixels),
}

/// Red, green and blue of each pixel, row by row.
pub(super) struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Black.
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        Pixels { width, height, rgb: vec![0; 3 * width * height] }
    }

    fn blend(&mut self, (x, y): BackendCoord, color: BackendColor) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = 3 * (y * self.width + x);
        let (r, g, b) = color.rgb;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (f64::from(*old) * (1.0 - color.alpha) + f64::from(new) * color.alpha).round() as u8;
        }
    }

    /// As a PNG file (RFC 2083): eight bits a channel, no filter.
    pub fn png(&self) -> Vec<u8> {
        let mut rows = Vec::with_capacity(self.rgb.len() + self.height);
        for row in self.rgb.chunks_exact(3 * self.width) {
            rows.push(0);
            rows.extend_from_slice(row);
        }
        let mut header = vec![];
        header.extend((self.width as u32).to_be_bytes());
        header.extend((self.height as u32).to_be_bytes());
        // Eight bits, three colours, the only compression and filtering, not interlaced.
        header.extend([8, 2, 0, 0, 0]);
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in
            [(b"IHDR", header), (b"IDAT", miniz_oxide::deflate::compress_to_vec_zlib(&rows, 6)), (b"IEND", vec![])]
        {
            out.extend((data.len() as u32).to_be_bytes());
            let checked = [&kind[..], &data].concat();
            out.extend(&checked);
            out.extend(super::crc::crc32(&checked).to_be_bytes());
        }
        out
    }
}

/// How large a pixel of a glyph is in text of this size: glyphs are about as wide as the drawing code takes letters to
/// be where it does not ask.
fn zoom(size: f64) -> i32 {
    (size / PIXEL).round().max(1.0) as i32
}

/// Width and height; a column and a row are left between glyphs.
fn extent(text: &str, size: f64) -> (i32, i32) {
    let zoom = zoom(size);
    (text.chars().count() as i32 * (WIDTH as i32 + 1) * zoom, (HEIGHT as i32 + 1) * zoom)
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = std::io::Error;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Canvas::Svg(svg) => svg.get_size(),
            Canvas::Pixels(pixels) => (pixels.width as u32, pixels.height as u32),
        }
    }

    fn ensure_prepared(&mut self) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.ensure_prepared(),
            Canvas::Pixels(_) => Ok(()),
        }
    }

    fn present(&mut self) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.present(),
            Canvas::Pixels(_) => Ok(()),
        }
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.draw_pixel(point, color),
            Canvas::Pixels(pixels) => {
                pixels.blend(point, color);
                Ok(())
            }
        }
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.draw_line(from, to, style),
            pixels => rasterizer::draw_line(pixels, from, to, style),
        }
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.draw_rect(from, to, style, fill),
            pixels => rasterizer::draw_rect(pixels, from, to, style, fill),
        }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        if let Canvas::Svg(svg) = self {
            return svg.draw_path(path, style);
        }
        let path: Vec<BackendCoord> = path.into_iter().collect();
        for (i, pair) in path.windows(2).enumerate() {
            rasterizer::draw_line(self, pair[0], pair[1], style)?;
            // Wide lines leave a notch where they meet.
            let radius = style.stroke_width() / 2;
            if i > 0 && radius > 0 && style.color().alpha == 1.0 {
                rasterizer::draw_circle(self, pair[0], radius, style, true)?;
            }
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.draw_circle(center, radius, style, fill),
            pixels => rasterizer::draw_circle(pixels, center, radius, style, fill),
        }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, vertices: I, style: &S) -> Drawn {
        match self {
            Canvas::Svg(svg) => svg.fill_polygon(vertices, style),
            pixels => {
                let vertices: Vec<BackendCoord> = vertices.into_iter().collect();
                rasterizer::fill_polygon(pixels, &vertices, style)
            }
        }
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        let pixels = match self {
            Canvas::Svg(svg) => return svg.draw_text(text, style, at),
            Canvas::Pixels(pixels) => pixels,
        };
        let ((width, height), zoom, turn) = (extent(text, style.size()), zoom(style.size()), style.transform());
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        for (number, c) in text.chars().enumerate() {
            let begin = left + number as i32 * (WIDTH as i32 + 1) * zoom;
            for (row, bits) in glyph(c).into_iter().enumerate() {
                for column in (0..WIDTH).filter(|column| bits >> (WIDTH - 1 - column) & 1 == 1) {
                    for place in 0..zoom * zoom {
                        let x = begin + column as i32 * zoom + place % zoom;
                        let y = top + row as i32 * zoom + place / zoom;
                        let (x, y) = turn.transform(x, y);
                        pixels.blend((at.0 + x, at.1 + y), style.color());
                    }
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        match self {
            Canvas::Svg(svg) => svg.estimate_text_size(text, style),
            Canvas::Pixels(_) => {
                let (width, height) = extent(text, style.size());
                Ok((width as u32, height as u32))
            }
        }
    }
}
