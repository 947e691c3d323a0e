// What one writes with KCL 3: a scheduler, a processor that sends what matches to a queue in batches and checkpoints once
// a second. Tuned: it polls as often as it is told, and its intervals are short where they only make it wait.
// KclContestant ENDPOINT STREAM_ARN QUEUE PAUSE_MS

import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.DynamoDBStreamsLeaseManagementFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;
import software.amazon.awssdk.services.dynamodb.model.Record;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.model.SendMessageBatchRequestEntry;
import software.amazon.awssdk.services.sqs.model.SendMessageBatchResponse;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.DeletedStreamListProvider;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.leases.LeaseRefresher;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.MetricsLevel;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.StreamTracker;
import software.amazon.kinesis.retrieval.RetrievalConfig;

public final class KclContestant {
    private static final Region REGION = Region.US_EAST_1;
    private static final int CONNECTIONS_MAX = 1100; // a shard each
    private static final int BATCH_MAX = 10;
    private static final long CHECKPOINT_EVERY_NS = 1_000_000_000L;
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        StaticCredentialsProvider credentials =
                StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        DynamoDbAsyncClient dynamoDb = DynamoDbAsyncClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials).build();
        DynamoDbStreamsClient streams = DynamoDbStreamsClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials)
                .httpClient(ApacheHttpClient.builder().maxConnections(CONNECTIONS_MAX).build()).build();
        SqsClient sqs = SqsClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials)
                .httpClient(ApacheHttpClient.builder().maxConnections(CONNECTIONS_MAX).build()).build();
        CloudWatchAsyncClient unused = CloudWatchAsyncClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials).build();
        String queueUrl = sqs.getQueueUrl(question -> question.queueName(arguments[2])).queueUrl();
        scheduler(dynamoDb, streams, unused, arguments[1], Long.parseLong(arguments[3]), sqs, queueUrl).run();
    }

    private static Scheduler scheduler(DynamoDbAsyncClient dynamoDb, DynamoDbStreamsClient streams,
            CloudWatchAsyncClient unused, String streamArn, long pauseMs, SqsClient sqs, String queueUrl)
            throws Exception {
        AmazonDynamoDBStreamsAdapterClient adapter = new AmazonDynamoDBStreamsAdapterClient(streams, REGION);
        StreamTracker tracker = StreamsSchedulerFactory.createSingleStreamTracker(
                streamArn, InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        ConfigsBuilder configs = new ConfigsBuilder(tracker, "benchmark", adapter, dynamoDb, unused, UUID.randomUUID().toString(),
                () -> new Processor(sqs, queueUrl));
        LeaseManagementConfig leases = configs.leaseManagementConfig().leaseAssignmentIntervalMillis(500L);
        leases.workerUtilizationAwareAssignmentConfig()
                .disableWorkerMetrics(true) // they ask the machine's metadata service
                .inMemoryWorkerMetricsCaptureFrequencyMillis(50); // its double is the wait before the first report
        DynamoDBStreamsPollingConfig polling =
                new DynamoDBStreamsPollingConfig(adapter).idleTimeBetweenReadsInMillis(pauseMs);
        RetrievalConfig retrieval = configs.retrievalConfig().retrievalSpecificConfig(polling);
        makeRows(new DynamoDBStreamsLeaseManagementFactory(adapter, leases, retrieval), tracker);
        return StreamsSchedulerFactory.createScheduler(
                configs.checkpointConfig(),
                configs.coordinatorConfig()
                        .shardConsumerDispatchPollIntervalMillis(50)
                        .skipShardSyncAtWorkerInitializationIfLeasesExist(true),
                leases,
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsLevel(MetricsLevel.NONE).metricsFactory(new NullMetricsFactory()),
                configs.processorConfig().callProcessRecordsEvenForEmptyRecordList(false),
                retrieval,
                adapter);
    }

    /** Makes table, index and rows at once, which takes a scheduler up to 40 s: it gives others time to be first. */
    private static void makeRows(DynamoDBStreamsLeaseManagementFactory factory, StreamTracker tracker)
            throws Exception {
        LeaseRefresher table = factory.createLeaseRefresher();
        table.createLeaseTableIfNotExists();
        table.waitUntilLeaseTableExists(1, 60);
        table.createLeaseOwnerToLeaseKeyIndexIfNotExists();
        table.waitUntilLeaseOwnerToLeaseKeyIndexExists(1, 60);
        if (table.isLeaseTableEmpty()) {
            factory.createShardSyncTaskManager(
                            new NullMetricsFactory(), tracker.streamConfigList().get(0), new DeletedStreamListProvider())
                    .callShardSyncTask();
        }
    }

    private static boolean matches(Record record) {
        if (!"MODIFY".equals(record.eventNameAsString())) {
            return false;
        }
        AttributeValue phase = record.dynamodb().newImage().get("phase");
        return phase != null && "FILE_UPLOAD_COMPLETE".equals(phase.s());
    }

    /** The record as JSON; of attribute values only texts and numbers, since there are no others here. */
    private static String message(Record record) throws com.fasterxml.jackson.core.JsonProcessingException {
        ObjectNode whole = JSON.createObjectNode();
        whole.put("eventID", record.eventID()).put("eventName", record.eventNameAsString())
                .put("eventVersion", record.eventVersion()).put("eventSource", record.eventSource())
                .put("awsRegion", record.awsRegion());
        ObjectNode heart = whole.putObject("dynamodb");
        heart.put("ApproximateCreationDateTime", record.dynamodb().approximateCreationDateTime().getEpochSecond());
        put(heart.putObject("Keys"), record.dynamodb().keys());
        put(heart.putObject("NewImage"), record.dynamodb().newImage());
        heart.put("SequenceNumber", record.dynamodb().sequenceNumber())
                .put("SizeBytes", record.dynamodb().sizeBytes())
                .put("StreamViewType", record.dynamodb().streamViewTypeAsString());
        return JSON.writeValueAsString(whole);
    }

    private static void put(ObjectNode into, Map<String, AttributeValue> attributes) {
        attributes.forEach((name, value) -> {
            if (value.s() != null) {
                into.putObject(name).put("S", value.s());
            } else {
                into.putObject(name).put("N", value.n());
            }
        });
    }

    private static final class Processor implements DynamoDBStreamsShardRecordProcessor {
        private final SqsClient sqs;
        private final String queueUrl;
        private long checkpointedAt = System.nanoTime();

        Processor(SqsClient sqs, String queueUrl) {
            this.sqs = sqs;
            this.queueUrl = queueUrl;
        }

        @Override
        public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
            List<SendMessageBatchRequestEntry> batch = new ArrayList<>(BATCH_MAX);
            input.records().forEach(each -> {
                Record record = each.getRecord();
                if (!matches(record)) {
                    return;
                }
                try {
                    batch.add(SendMessageBatchRequestEntry.builder()
                            .id(Integer.toString(batch.size())).messageBody(message(record)).build());
                } catch (com.fasterxml.jackson.core.JsonProcessingException impossible) {
                    throw new IllegalStateException(impossible);
                }
                if (batch.size() == BATCH_MAX) {
                    send(batch);
                }
            });
            send(batch);
            if (System.nanoTime() - checkpointedAt >= CHECKPOINT_EVERY_NS) {
                checkpoint(input.checkpointer());
            }
        }

        private void send(List<SendMessageBatchRequestEntry> batch) {
            if (batch.isEmpty()) {
                return;
            }
            SendMessageBatchResponse response = sqs.sendMessageBatch(
                    request -> request.queueUrl(queueUrl).entries(new ArrayList<>(batch)));
            if (response.hasFailed() && !response.failed().isEmpty()) {
                throw new IllegalStateException(response.failed().toString());
            }
            batch.clear();
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (InvalidStateException | ShutdownException failure) {
                throw new IllegalStateException(failure);
            }
            checkpointedAt = System.nanoTime();
        }

        @Override
        public void initialize(InitializationInput input) {}

        @Override
        public void leaseLost(LeaseLostInput input) {}

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }
    }
}
