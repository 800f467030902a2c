/** The bundle of a survey, which no other view carries. */
import { widgetOf } from "./entry";
import { View } from "./views/survey/root";

export default widgetOf(View);
