-- The timeline is made of the events when it is asked for; outages are a projection of their own.
--
-- An instance of the version before follows its other projections and takes webhooks as ever. Until it is upgraded it
-- has no timelines to show, notes no outages, and erases nobody.

-- As of where `timeline` had come, on the same seal. An event of a source that it was told to leave out is left out.
INSERT INTO projections (name, position, anchor_position, anchor)
SELECT 'outages', position, anchor_position, anchor FROM projections WHERE name = 'timeline';
UPDATE projection_skips SET name = 'outages' WHERE name = 'timeline';
DELETE FROM projections WHERE name = 'timeline';

DROP TABLE timeline;
