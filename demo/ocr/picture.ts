/**
 * From the bytes of an image file to pixels.
 *
 * Assumes nothing about the bytes: they come from a caller. Only PNG and JPEG are decoded, because every further
 * format is a further parser that a stranger's bytes can reach. It deliberately changes no brightness or contrast: the
 * models were trained on pictures as they are.
 */
import sharp from 'sharp';
import type { Sharp } from 'sharp';
import { invalidArgument } from './inference.js';

/** 8-bit RGB, row by row, turned upright if the file says how the camera was held. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A sheet of A3 at 300 dpi has 17 million; decoded, 40 million take 120 MB. */
const PIXELS_MAX = 40_000_000;
const SIDE_MIN = 16;
const FORMATS: readonly string[] = ['png', 'jpeg'];

// The replicas are the parallelism, and no picture is decoded twice.
sharp.concurrency(1);
sharp.cache(false);

/** Throws an error with the code INVALID_ARGUMENT for bytes that are not a picture this reader takes. */
export async function decodePicture(bytes: Uint8Array): Promise<Picture> {
  const file = open(bytes);
  const { format, width, height } = await file.metadata().catch((cause: unknown) => {
    throw invalidArgument(`image: not a PNG or JPEG file (${bytes.length} bytes)`, cause);
  });
  if (!FORMATS.includes(format)) throw invalidArgument(`image: ${format} is not read here; wanted PNG or JPEG`);
  if (width * height > PIXELS_MAX) throw invalidArgument(`image: ${width} x ${height} is more than ${PIXELS_MAX} pixels`);
  if (Math.min(width, height) < SIDE_MIN) throw invalidArgument(`image: ${width} x ${height} is too small; each side needs ${SIDE_MIN} pixels`);
  const { data, info } = await open(bytes)
    .autoOrient()
    .flatten({ background: '#fff' })
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
    .catch((cause: unknown) => {
      throw invalidArgument(`image: the ${format} file is damaged: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
    });
  return { width: info.width, height: info.height, data: info.channels === 3 ? data : toRgb(data, info.channels) };
}

function open(bytes: Uint8Array): Sharp {
  return sharp(bytes, { limitInputPixels: false, failOn: 'error' });
}

/** Grey pictures stay one channel wide through sharp's raw output. */
function toRgb(data: Uint8Array, channels: number): Uint8Array {
  const pixels = data.length / channels;
  const rgb = new Uint8Array(pixels * 3);
  for (let index = 0; index < pixels; index++) rgb.fill(data[index * channels]!, index * 3, index * 3 + 3);
  return rgb;
}

/** Fits the picture into exactly `width` x `height`. */
export async function resizePicture(picture: Picture, width: number, height: number): Promise<Picture> {
  const raw = { width: picture.width, height: picture.height, channels: 3 } as const;
  const data = await sharp(picture.data, { raw, limitInputPixels: false }).resize(width, height, { fit: 'fill', kernel: 'linear' }).raw().toBuffer();
  return { width, height, data };
}
