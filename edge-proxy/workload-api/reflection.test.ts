import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { status } from '@grpc/grpc-js';
import { openStream, startScene } from './testing/scene.ts';
import { reflectionProtocol } from './wire/grpc-reflection.ts';

for (const version of ['v1', 'v1alpha'] as const)
  describe(`server reflection ${version}`, () => {
    const protocol = reflectionProtocol(version);
    const path = `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`;

    test('lists the services', async (t) => {
      const { client } = await startScene(t);
      const received = openStream(client(), path, protocol, undefined);
      received.send({ listServices: '' });
      const { listServicesResponse } = await received.message(1);
      assert.deepEqual(
        listServicesResponse?.service.map(({ name }) => name),
        [
          'SpiffeWorkloadAPI',
          'envoy.service.secret.v3.SecretDiscoveryService',
          'grpc.reflection.v1.ServerReflection',
          'grpc.reflection.v1alpha.ServerReflection',
        ],
      );
      received.finish();
      assert.equal(await received.ended(), undefined);
    });

    for (const symbol of [
      'SpiffeWorkloadAPI',
      'SpiffeWorkloadAPI.FetchX509SVID',
      'envoy.service.secret.v3.SecretDiscoveryService',
      'envoy.extensions.transport_sockets.tls.v3.Secret',
      'envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain',
      'google.protobuf.Struct',
      `grpc.reflection.${version}.ServerReflection`,
    ])
      test(`${symbol}: descriptors that another implementation can link`, async (t) => {
        const { client } = await startScene(t);
        const received = openStream(client(), path, protocol, undefined);
        received.send({ fileContainingSymbol: symbol });
        const { fileDescriptorResponse } = await received.message(1);
        const file = (fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) =>
          fromBinary(FileDescriptorProtoSchema, bytes),
        );
        const registry = createFileRegistry(create(FileDescriptorSetSchema, { file }));
        const owner = symbol.replace(/\.FetchX509SVID$/, '');
        assert.ok(registry.getMessage(owner) ?? registry.getService(owner));
      });

    test('what is not there', async (t) => {
      const { client } = await startScene(t);
      const received = openStream(client(), path, protocol, undefined);
      received.send({ fileByFilename: 'google/protobuf/any.proto' });
      assert.ok((await received.message(1)).fileDescriptorResponse !== undefined);
      for (const [index, request] of [
        { fileContainingSymbol: 'nothing' },
        { fileByFilename: '/etc/passwd' },
        { allExtensionNumbersOfType: 'google.protobuf.Any' },
        {},
      ].entries()) {
        received.send(request);
        assert.equal((await received.message(index + 2)).errorResponse?.errorCode, status.NOT_FOUND);
      }
    });
  });
