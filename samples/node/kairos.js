// A client of the gateway: deadlines, the API key, and retries as the gateway asks for them.
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const PROTOS = process.env.KAIROS_PROTOS ?? fileURLToPath(new URL('../../protos', import.meta.url));
if (!existsSync(PROTOS)) throw new Error(`there are no protos in ${PROTOS}; set KAIROS_PROTOS`);

const definition = loadSync('kairos/gateway/v1/gateway.proto', {
  includeDirs: [PROTOS], enums: String, longs: String, defaults: true, oneofs: true,
});
const { GatewayService } = grpc.loadPackageDefinition(definition).kairos.gateway.v1;

// The two messages of google.rpc that a refusal with a time to wait has.
const rpc = protobuf.parse(`
  syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
`).root;
const Status = rpc.lookupType('Status');
const RetryInfo = rpc.lookupType('RetryInfo');

// The milliseconds that the gateway asks to wait; undefined if it does not say.
export function retryDelayMs(error) {
  for (const data of error.metadata?.get('grpc-status-details-bin') ?? []) {
    for (const detail of Status.decode(data).details) {
      if (detail.typeUrl?.endsWith('/google.rpc.RetryInfo')) {
        const delay = RetryInfo.decode(detail.value).retryDelay;
        return Number(delay?.seconds ?? 0) * 1e3 + (delay?.nanos ?? 0) / 1e6;
      }
    }
  }
  return undefined;
}

export class Kairos {
  constructor(target, { apiKey, tls = false } = {}) {
    const credentials = tls ? grpc.credentials.createSsl() : grpc.credentials.createInsecure();
    this.stub = new GatewayService(target, credentials);
    this.metadata = new grpc.Metadata();
    if (apiKey) this.metadata.set('authorization', `Bearer ${apiKey}`);
  }

  // Calls a method within `deadlineMs`, all tries together. A call that may be sent again is tried again while there is
  // time: after RESOURCE_EXHAUSTED as late as the gateway says, after UNAVAILABLE with a growing, random pause. Reads
  // have fallbacks: show their degraded answer instead of trying again. All writes are idempotent.
  async call(method, request, { deadlineMs, retry = false }) {
    const deadline = Date.now() + deadlineMs;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#once(method, request, deadline);
      } catch (error) {
        const pauseMs = error.code === grpc.status.RESOURCE_EXHAUSTED
          ? retryDelayMs(error)
          : error.code === grpc.status.UNAVAILABLE ? 100 * 2 ** attempt * (0.5 + Math.random()) : undefined;
        if (!retry || pauseMs === undefined || Date.now() + pauseMs >= deadline) throw error;
        await sleep(pauseMs);
      }
    }
  }

  close() {
    this.stub.close();
  }

  #once(method, request, deadline) {
    return new Promise((resolve, reject) => {
      this.stub[method](request, this.metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }
}
