import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Penalties } from './penalties.ts';

test('who was cut stays away for a second: that identity, from that address', () => {
  let nowMs = 0;
  const penalties = new Penalties(() => nowMs);
  assert.equal(penalties.leftMs('web', '10.0.0.1'), 0);
  penalties.add('web', '10.0.0.1');
  assert.ok(penalties.leftMs('web', '10.0.0.1') > 0);
  assert.equal(penalties.leftMs('web', '10.0.0.2'), 0);
  assert.equal(penalties.leftMs('api', '10.0.0.1'), 0);
  nowMs = 999;
  assert.ok(penalties.leftMs('web', '10.0.0.1') > 0);
  nowMs = 1_000;
  assert.equal(penalties.leftMs('web', '10.0.0.1'), 0);
});

test('each cut counts from then on', () => {
  let nowMs = 0;
  const penalties = new Penalties(() => nowMs);
  penalties.add('web', '10.0.0.1');
  nowMs = 600;
  penalties.add('web', '10.0.0.1');
  nowMs = 1_500;
  assert.ok(penalties.leftMs('web', '10.0.0.1') > 0);
  nowMs = 1_600;
  assert.equal(penalties.leftMs('web', '10.0.0.1'), 0);
});

test('no more than a thousand are remembered: the oldest is forgiven', () => {
  const penalties = new Penalties(() => 0);
  for (let count = 0; count < 1_025; count++) penalties.add('web', `10.0.${count >> 8}.${count & 255}`);
  assert.equal(penalties.leftMs('web', '10.0.0.0'), 0);
  assert.ok(penalties.leftMs('web', '10.0.0.1') > 0);
  assert.ok(penalties.leftMs('web', '10.0.4.0') > 0);
});
