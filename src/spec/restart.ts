/**
 * How often and how fast a replica is started again. Names and rules are OTP's (intensity, period) plus backoff.
 *
 * The budget (intensity, periodMs, consecutiveMax) belongs to the pool that restarts, the backoff to each replica.
 * Relations between these fields (a budget the backoff makes unreachable) are checked in actor.ts, where all are known.
 */
import { z } from 'zod';
import { milliseconds } from './fields.js';

/** Of one replica's consecutive failures; the first restart never waits. */
export const backoffDefaults = { minMs: 500, maxMs: 30_000, factor: 2, jitter: 0.2 } as const;

export const backoffSchema = z
  .strictObject({
    minMs: milliseconds.min(0).default(backoffDefaults.minMs)
      .describe('Delay before the second restart in a row, in ms. The first restart never waits.'),
    maxMs: milliseconds.min(0).default(backoffDefaults.maxMs)
      .describe('Cap of the delay, in ms. Jitter only ever shortens it.'),
    factor: z.number().min(1).max(100).default(backoffDefaults.factor)
      .describe('Each further failure in a row multiplies the delay by this.'),
    jitter: z.number().min(0).max(1).default(backoffDefaults.jitter)
      .describe('Share of the delay that chance may take away, 0..1, so that replicas do not restart in step.'),
  });

export const restartSchema = z
  .strictObject({
    type: z.enum(['permanent', 'transient', 'temporary']).default('permanent')
      .describe('OTP restart type: permanent = always, transient = after abnormal exits only, temporary = never.'),
    intensity: z.union([z.number().int().min(0), z.literal('infinity')]).optional()
      .describe('Restarts a pool may authorise within periodMs; one more and it gives up. Default max(5, 3 x replicas). "infinity" = never gives up.'),
    periodMs: milliseconds.min(1).default(60_000)
      .describe('Length of the sliding window intensity counts in, in ms.'),
    consecutiveMax: z.number().int().min(1).default(8)
      .describe('Failures of one replica in a row, without it having been stable between, after which the pool gives up; catches slow failures that never fill the window.'),
    resetAfterMs: milliseconds.min(0).default(60_000)
      .describe('Unbroken readiness, in ms, after which a replica counts as stable and its backoff starts anew.'),
    backoff: backoffSchema.default({ ...backoffDefaults })
      .describe('Delays between restarts of one replica.'),
  });

export type BackoffSpec = z.output<typeof backoffSchema>;
export type RestartSpec = Omit<z.output<typeof restartSchema>, 'intensity'> & { readonly intensity: number };
