// One worker of a KCL 3 application on a DynamoDB stream, as the adapter's users write it. What it does it prints, one
// JSON object a line: {"record": ...}, {"checkpoint": ...}, {"lease": "started" | "lost" | "ended" | "stopped"}.
// KclWorker ENDPOINT STREAM_ARN APPLICATION WORKER_ID FAILOVER_MS CHECKPOINT_MS

import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.DynamoDBStreamsLeaseManagementFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkRequest;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.model.DescribeStreamRequest;
import software.amazon.awssdk.services.dynamodb.model.GetShardIteratorRequest;
import software.amazon.awssdk.services.dynamodb.model.Record;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
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

public final class KclWorker {
    private static final Region REGION = Region.US_EAST_1;
    private static final String LOCAL_REGION = "ddblocal"; // of DynamoDB Local's ARNs; this adapter refuses it
    private static final int RECORDS_A_PAGE = 20;
    private static final long IDLE_MS = 100;
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Scheduler scheduler = scheduler(URI.create(arguments[0]), arguments[1], arguments[2], arguments[3],
                Long.parseLong(arguments[4]), Long.parseLong(arguments[5]));
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                scheduler.startGracefulShutdown().get(30, TimeUnit.SECONDS);
                main.join(5_000);
            } catch (Exception failure) {
                failure.printStackTrace();
            }
        }));
        scheduler.run();
    }

    /** A scheduler with its defaults, but for what makes it wait: this application has one worker and one shard. */
    private static Scheduler scheduler(URI endpoint, String streamArn, String application, String workerId,
            long failoverMs, long checkpointMs) throws Exception {
        StaticCredentialsProvider credentials =
                StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
        DynamoDbAsyncClient dynamoDb = DynamoDbAsyncClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials).build();
        DynamoDbStreamsClient streams = DynamoDbStreamsClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials)
                .httpClient(UrlConnectionHttpClient.create())
                .overrideConfiguration(settings -> settings.addExecutionInterceptor(new LocalArns()))
                .build();
        CloudWatchAsyncClient unused = CloudWatchAsyncClient.builder()
                .endpointOverride(endpoint).region(REGION).credentialsProvider(credentials).build();
        AmazonDynamoDBStreamsAdapterClient adapter = new AmazonDynamoDBStreamsAdapterClient(streams, REGION);
        StreamTracker tracker = StreamsSchedulerFactory.createSingleStreamTracker(
                streamArn.replace(LOCAL_REGION, REGION.id()),
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        ConfigsBuilder configs = new ConfigsBuilder(tracker, application, adapter, dynamoDb, unused, workerId,
                () -> new Processor(checkpointMs));

        LeaseManagementConfig leases = configs.leaseManagementConfig()
                .failoverTimeMillis(failoverMs)
                .leaseAssignmentIntervalMillis(500L)
                .shardSyncIntervalMillis(0); // as the adapter sets it, after what is made here
        leases.workerUtilizationAwareAssignmentConfig()
                .disableWorkerMetrics(true) // they ask the machine's metadata service
                .inMemoryWorkerMetricsCaptureFrequencyMillis(50); // its double is the wait before the first report
        DynamoDBStreamsPollingConfig polling =
                new DynamoDBStreamsPollingConfig(adapter).idleTimeBetweenReadsInMillis(IDLE_MS);
        polling.maxRecords(RECORDS_A_PAGE);
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

    private static synchronized void say(Object... namesAndValues) {
        Map<String, Object> line = new LinkedHashMap<>();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            line.put((String) namesAndValues[i], namesAndValues[i + 1]);
        }
        try {
            System.out.println(JSON.writeValueAsString(line));
        } catch (com.fasterxml.jackson.core.JsonProcessingException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    /** Prints every record, and checkpoints after a page once `checkpointMs` have passed since it last did. */
    private static final class Processor implements DynamoDBStreamsShardRecordProcessor {
        private final long checkpointMs;
        private String shard;
        private String last;
        private Long checkpointedAt;

        Processor(long checkpointMs) {
            this.checkpointMs = checkpointMs;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            say("lease", "started", "shard", shard, "position", input.extendedSequenceNumber().sequenceNumber());
        }

        @Override
        public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
            input.records().forEach(record -> {
                Record change = record.getRecord();
                say("record", change.eventID(), "shard", shard, "sequence_number", record.sequenceNumber(),
                        "item", change.dynamodb().keys().get("analysisRequestId").s(),
                        "revision", change.dynamodb().newImage().get("revision").n());
                last = record.sequenceNumber();
            });
            if (checkpointedAt == null || System.nanoTime() - checkpointedAt >= checkpointMs * 1_000_000) {
                checkpoint(input.checkpointer());
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            say("lease", "lost", "shard", shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            last = "SHARD_END";
            checkpoint(input.checkpointer());
            say("lease", "ended", "shard", shard);
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            if (last != null) {
                checkpoint(input.checkpointer());
            }
            say("lease", "stopped", "shard", shard);
        }

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (InvalidStateException | ShutdownException failure) {
                throw new IllegalStateException(failure);
            }
            checkpointedAt = System.nanoTime();
            say("checkpoint", last, "shard", shard);
        }
    }

    /** Gives DynamoDB Local the ARNs that it knows. */
    private static final class LocalArns implements ExecutionInterceptor {
        @Override
        public SdkRequest modifyRequest(Context.ModifyRequest context, ExecutionAttributes attributes) {
            SdkRequest request = context.request();
            if (request instanceof DescribeStreamRequest) {
                DescribeStreamRequest describe = (DescribeStreamRequest) request;
                return describe.toBuilder().streamArn(local(describe.streamArn())).build();
            }
            if (request instanceof GetShardIteratorRequest) {
                GetShardIteratorRequest iterator = (GetShardIteratorRequest) request;
                return iterator.toBuilder().streamArn(local(iterator.streamArn())).build();
            }
            return request;
        }

        private static String local(String arn) {
            return arn.replace(":" + REGION.id() + ":", ":" + LOCAL_REGION + ":");
        }
    }
}
