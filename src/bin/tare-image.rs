//! tare-image, the companion: from an image to a bundle.

fn main() {}
